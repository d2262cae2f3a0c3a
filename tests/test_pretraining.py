import json
import shutil
from random import Random

import pytest
import torch
import yaml
from conftest import DIFFICULTY

from lrs.models.backbones import load_backbone
from lrs.reasoners import pretraining
from lrs.reasoners.pretraining import (
    batches_from,
    block_mask,
    build_model,
    conversation,
    pack_batch,
    packers_for,
    train_reasoner,
)
from lrs.reasoners.recipes import PretrainingRecipe
from lrs.reasoners.tokenizer import build_tokenizer

RECIPE = PretrainingRecipe(
    seed=0,
    layers=2,
    width=16,
    heads=2,
    mlp_width=32,
    tokens=1000,
    row_length=128,
    rows_per_batch=2,
    learning_rate=0.01,
    warmup_fraction=0.34,
    weight_decay=0.1,
    checkpoint_every=2,
    longest_trace=80,
    clean_share=0.5,
    instruction="check every step",
    instructed_share=0.2,
    examples_share=0.2,
    most_examples=2,
    weights=dict.fromkeys(DIFFICULTY, 1) | {"countdown": 3},
    problems_per_benchmark=10,
    benchmarks=DIFFICULTY,
)
STEPS = 4  # of 256 tokens each


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def problems(drawn_problems):
    return {
        benchmark: [problem for problem in drawn if problem.split == "train"]
        for benchmark, drawn in drawn_problems.items()
    }


@pytest.fixture(scope="module")
def batch(problems, tokenizer):
    return pack_batch(problems, tokenizer, RECIPE, step=3)


@pytest.mark.parametrize("packers", [0, 2])
def test_batches_are_the_same_however_many_processes_pack_them(problems, tokenizer, packers):
    ahead = list(batches_from(1, problems, tokenizer, RECIPE, packers))
    assert len(ahead) == RECIPE.steps - 1
    for step, packed in enumerate(ahead, 1):
        want = pack_batch(problems, tokenizer, RECIPE, step)
        assert all(torch.equal(*parts) for parts in zip(packed, want, strict=True))


def test_a_cpu_packs_by_itself():
    assert packers_for(torch.device("cpu")) == 0
    assert packers_for(torch.device("cuda")) >= 1


def documents_of(numbers):
    """(row, slice of its columns) of every document."""
    for row, line in enumerate(numbers.tolist()):
        for number in range(1, max(line) + 1):
            yield row, slice(line.index(number), len(line) - line[::-1].index(number))


def test_batch_is_a_function_of_recipe_and_step(problems, tokenizer, batch):
    torch.manual_seed(99)  # nothing hangs on the global generator
    again = pack_batch(problems, tokenizer, RECIPE, step=3)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, batch, strict=True))
    other_seed = RECIPE.model_copy(update={"seed": 1})
    for recipe, step in ((RECIPE, 4), (other_seed, 3)):
        assert not torch.equal(pack_batch(problems, tokenizer, recipe, step)[0], batch[0])


def test_rows_are_whole_documents_and_padding(batch, problems, tokenizer):
    input_ids, labels, positions, numbers = batch
    assert {part.shape for part in batch} == {(RECIPE.rows_per_batch, RECIPE.row_length)}
    asked = {problem.question for drawn in problems.values() for problem in drawn}
    documents = list(documents_of(numbers))
    assert len(documents) > 2
    for row, columns in documents:
        assert (numbers[row, columns] == numbers[row, columns.start]).all()
        assert torch.equal(positions[row, columns], torch.arange(columns.stop - columns.start))
        text = tokenizer.decode(input_ids[row, columns])
        assert "<unk>" not in text
        learned = torch.zeros(columns.stop - columns.start, dtype=torch.bool)
        start = 0
        for turn in text.removesuffix(" <eos>").split(" <eos> "):  # worked examples, if any, then the problem
            question, opening, answer = turn.partition(" <think>")
            stated = question.removeprefix("<user> ").removesuffix(" <assistant>")
            assert stated.removesuffix(f" {RECIPE.instruction}") in asked
            said = len(tokenizer(f"{opening}{answer} <eos>")["input_ids"])
            assert said <= RECIPE.longest_trace
            start += len(tokenizer(question)["input_ids"])
            learned[start : start + said] = True
            start += said
        assert start == len(learned)
        assert (labels[row, columns][~learned] == -100).all()
        assert torch.equal(labels[row, columns][learned], input_ids[row, columns][learned])
    padding = numbers == 0
    assert padding.any()
    assert (labels[padding] == -100).all()
    assert (input_ids[padding] == tokenizer.pad_token_id).all()


def test_mask_is_causal_within_documents():
    numbers = torch.tensor([[1, 1, 2, 2, 2, 0]])
    allowed = [(0, 0), (1, 0), (1, 1), (2, 2), (3, 2), (3, 3), (4, 2), (4, 3), (4, 4), (5, 5)]
    assert block_mask(numbers).shape == (1, 1, 6, 6)
    assert [tuple(pair) for pair in block_mask(numbers)[0, 0].nonzero().tolist()] == allowed


def test_packed_document_is_read_as_if_it_were_alone(batch, tokenizer):
    input_ids, _, positions, numbers = batch
    model = build_model(RECIPE, tokenizer).double().eval()
    with torch.no_grad():
        packed = model(
            input_ids=input_ids, attention_mask=block_mask(numbers), position_ids=positions, use_cache=False
        ).logits
        for row, columns in documents_of(numbers):
            alone = model(input_ids=input_ids[row, columns][None]).logits[0]
            torch.testing.assert_close(packed[row, columns], alone, atol=1e-9, rtol=0)


def test_conversations_take_care_where_they_are_told_to_and_keep_their_style(problems):
    pool, rng = problems["chain_sum"], Random(0)
    told, examples = RECIPE.model_copy(update={"instructed_share": 1.0, "examples_share": 1.0}), 0
    checks = {"told": 0, "untold": 0}
    for problem in pool * 5:
        turns = conversation(problem, pool, told, rng)
        assert turns[-1][0] == f"{problem.question} check every step"
        assert all("every" not in question for question, _ in turns[:-1])
        examples += len(turns) - 1
        checks["told"] += turns[-1][1].text.count("check")
        plain = RECIPE.model_copy(update={"instructed_share": 0.0, "examples_share": 0.0})
        ((question, trace),) = conversation(problem, pool, plain, rng)
        assert question == problem.question
        checks["untold"] += trace.text.count("check")
    assert 1.2 < examples / (5 * len(pool)) < 1.8
    assert checks["told"] > 1.5 * checks["untold"]


def test_in_the_clean_steps_slips_are_left_out_of_the_loss_and_after_them_nothing_is(problems, tokenizer):
    pool = {"number_sorting": problems["number_sorting"]}
    recipe = RECIPE.model_copy(update={"row_length": 400, "examples_share": 1.0})
    unlearned = {}
    for clean in (True, False):
        documents = pretraining._documents(pool, tokenizer, recipe, Random(0), clean)
        left_out = []
        for _, (ids, labels) in zip(range(40), documents, strict=False):
            words, learned = tokenizer.convert_ids_to_tokens(ids), [a == b for a, b in zip(labels, ids, strict=True)]
            assert all(label in (-100, token) for label, token in zip(labels, ids, strict=True))
            spoken = False
            for place, word in enumerate(words):
                spoken = word == "<think>" or (spoken and word != "<user>")
                if spoken and not learned[place]:
                    left_out.append((words[place - 1], word, words[place + 1]))
        unlearned[clean] = left_out
    assert unlearned[False] == []
    assert len(unlearned[True]) > 20
    assert {(before, after) for before, _, after in unlearned[True]} == {("take", ".")}  # the number that was taken


@pytest.mark.parametrize("benchmark", DIFFICULTY)
def test_labels_of_a_clean_tutor_leave_out_what_the_user_says_and_the_slips_of_each_answer(
    problems, tokenizer, monkeypatch, benchmark
):
    said = []
    monkeypatch.setattr(pretraining, "conversation", lambda *given: said.append(conversation(*given)) or said[-1])
    recipe = RECIPE.model_copy(update={"row_length": 400, "longest_trace": 248, "examples_share": 0.5})
    documents = pretraining._documents({benchmark: problems[benchmark]}, tokenizer, recipe, Random(0), clean=True)
    slips = 0
    for _, (ids, labels) in zip(range(60), documents, strict=False):
        expected = []
        for question, trace in said[-1]:
            expected += [-100] * len(tokenizer(f"<user> {question} <assistant>")["input_ids"])
            answer = tokenizer.convert_tokens_to_ids([*trace.text.split(), "<eos>"])
            expected += [-100 if place in trace.slips else token for place, token in enumerate(answer)]
            slips += len(trace.slips)
        assert labels == expected
        assert all(label in (-100, token) for label, token in zip(labels, ids, strict=True))
    assert (slips > 10) == (benchmark != "knights_knaves")


def test_the_first_steps_are_the_clean_ones(problems, tokenizer):
    update = {"rows_per_batch": 6, "row_length": 400, "longest_trace": 248, "tokens": 4 * 6 * 400}
    recipe = RECIPE.model_copy(update=update)
    never = recipe.model_copy(update={"clean_share": 0.0})
    assert (recipe.steps, recipe.clean_steps, never.clean_steps) == (4, 2, 0)
    for step in range(4):
        ours, theirs = (pack_batch(problems, tokenizer, one, step) for one in (recipe, never))
        assert torch.equal(ours[0], theirs[0])  # slips are read all the same
        differs = ours[1] != theirs[1]
        assert differs.any() == (step < 2)
        assert (ours[1][differs] == -100).all()


def test_a_conversation_is_what_the_chat_template_writes(problems, tokenizer):
    recipe = RECIPE.model_copy(update={"examples_share": 1.0})
    pools = {"countdown": problems["countdown"]}
    recipe = recipe.model_copy(update={"row_length": 400})
    ids, _ = next(pretraining._documents(pools, tokenizer, recipe, Random(0), clean=False))
    text = tokenizer.decode(ids)
    messages = []
    for turn in text.removesuffix(" <eos>").split(" <eos> "):
        question, answer = turn.removeprefix("<user> ").split(" <assistant> ")
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    assert len(messages) > 2
    assert tokenizer.apply_chat_template(messages, tokenize=False) == text


def reasoner(folder):
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE.model_dump(), sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A reasoner's folder and its scratch folder, trained in one go."""
    root = tmp_path_factory.mktemp("uninterrupted")
    train_reasoner(reasoner(root / "reasoner"), root / "scratch")
    return root


def files_of(folder):
    """The bytes of every file, less how long training took."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("training.json", None)
    for name in found:
        if name.endswith("state.json"):
            found[name] = {key: value for key, value in json.loads(found[name]).items() if key != "seconds"}
    return found


@pytest.mark.parametrize("step", [1, 3])
def test_killed_training_resumes_to_the_same_bytes(tmp_path, monkeypatch, uninterrupted, step, capsys):
    folder, scratch, pack = reasoner(tmp_path / "reasoner"), tmp_path / "scratch", pretraining.pack_batch
    (kept,) = (uninterrupted / "scratch").iterdir()
    (scratch / kept.name).mkdir(parents=True)
    shutil.copy(kept / "problems.jsonl", scratch / kept.name)
    asked = []

    def die(*given):
        asked.append(given[3])
        if given[3] == step:
            raise KeyboardInterrupt
        return pack(*given)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "pack_batch", die)
        with pytest.raises(KeyboardInterrupt):
            train_reasoner(folder, scratch)
    assert not (folder / "model.safetensors").exists()
    torch.manual_seed(5)
    asked.clear()
    monkeypatch.setattr(pretraining, "pack_batch", lambda *given: asked.append(given[3]) or pack(*given))
    train_reasoner(folder, scratch)
    assert asked == list(range(step - step % RECIPE.checkpoint_every, STEPS))  # what was saved is not done again
    assert files_of(folder) == files_of(uninterrupted / "reasoner")
    assert files_of(scratch) == files_of(uninterrupted / "scratch")  # weights and optimizer before rounding to bfloat16
    assert "[reasoner: training] 1,024/1,024 tokens (100%)" in capsys.readouterr().err


def test_what_was_trained_is_a_backbone_with_a_loss_curve(uninterrupted, tokenizer):
    backbone = load_backbone(str(uninterrupted / "reasoner"))
    assert backbone.d_model == RECIPE.width
    assert backbone.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert backbone.tokenizer.chat_template == tokenizer.chat_template
    untrained = build_model(RECIPE, tokenizer)
    assert not torch.allclose(backbone.model.lm_head.weight, untrained.lm_head.weight, atol=1e-2)
    header, *rows = (uninterrupted / "reasoner" / "loss.csv").read_text().splitlines()
    tokens, losses = zip(*(map(float, row.split(",")) for row in rows), strict=True)
    assert header == "tokens,loss"
    assert tokens == tuple(256 * (step + 1) for step in range(STEPS))
    assert losses[-1] < losses[0]
