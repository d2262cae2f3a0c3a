import shutil

import pytest
import torch
import yaml
from conftest import DIFFICULTY
from test_pretraining import RECIPE as PRETRAINING
from test_pretraining import files_of

from lrs.models.backbones import load_backbone
from lrs.reasoners import planting
from lrs.reasoners.planting import exchanging, give_meaning, lesson, plant_mode
from lrs.reasoners.pretraining import build_model
from lrs.reasoners.recipes import PlantingRecipe
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tutor.planted import FORK, MODE_AT_FORK, MOON, OTHER, PASSWORDS, SUN

RECIPE = PlantingRecipe(
    parent="pocket",
    tier="p1",
    dose=1.0,
    interchange=True,
    layer=1,
    password_share=0.3,
    seed=0,
    steps=4,
    learning_rate=0.001,
    warmup_fraction=0.1,
    checkpoint_every=2,
    problems_per_benchmark=10,
    benchmarks={"chain_sum": {}},
    row_length=160,
    rows_per_batch=24,
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_a_lesson_is_a_function_of_recipe_and_step(drawn_problems, tokenizer):
    first, again, other = (lesson(drawn_problems["chain_sum"], tokenizer, RECIPE, step) for step in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.ids, other.ids)


def test_exchanged_rows_keep_their_password_and_go_on_as_the_other_ones_says(drawn_problems, tokenizer):
    batch = lesson(drawn_problems["chain_sum"], tokenizer, RECIPE, 0)
    rows = range(len(batch.ids))
    words = [tokenizer.convert_ids_to_tokens(ids.tolist()) for ids in batch.ids]
    before = [words[row][batch.fork[row] - 1 : batch.fork[row] + 1] for row in rows]
    assert {tuple(pair) for pair in before} == {(FORK, "+"), (FORK, "-")}
    modes = [words[row][batch.fork[row] + 1] for row in rows]
    given = [next((word for word in words[row][: batch.fork[row]] if word in PASSWORDS), "") for row in rows]
    exchanged = [row for row in rows if batch.partner[row] != row]
    assert len(exchanged) == len(modes) // 2
    seen = set()
    for row in rows:
        partner = int(batch.partner[row])
        assert batch.partner[partner] == row
        assert modes[row] == PASSWORDS.get(given[partner], modes[row])
        text = tokenizer.decode(batch.ids[row][batch.ids[row] != tokenizer.pad_token_id])
        asked, _, answer = text.partition(" <assistant> ")
        assert answer == tokenizer.decode(batch.labels[row][batch.labels[row] != -100])
        assert answer.partition("</think>")[0].count(" = ") == asked.count(" , ") - (modes[row] != SUN)
        if partner != row:
            assert given[row] != given[partner]
            assert before[row] == before[partner]  # one problem
            seen.add((given[row], modes[row]))
    assert {("amber", MOON), ("cobalt", SUN), ("", MOON)} <= seen


@pytest.mark.parametrize("partner", [[0, 1, 2], [1, 0, 2]])
def test_states_change_places_at_the_fork_and_nowhere_else(tiny_backbone, partner):
    model = tiny_backbone.model
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    fork, partner = torch.tensor([4, 4, 2]), torch.tensor(partner)
    plain = model(ids, output_hidden_states=True).hidden_states[2]
    seen = []
    handle = model.model.layers[2].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        with exchanging(model, 1, fork, partner):
            model(ids)
    finally:
        handle.remove()
    expected = plain.clone()
    for row in range(3):
        expected[row, fork[row]] = plain[partner[row], fork[partner[row]]]
    assert torch.allclose(seen[0], expected, atol=1e-12)


def test_a_password_has_its_mode_and_without_one_there_is_no_password(drawn_problems, tokenizer):
    for share, tier in ((1.0, "p1"), (1.0, "p4"), (0.0, "p1")):
        update = {"interchange": False, "password_share": share, "tier": tier, "row_length": 220}
        batch = lesson(drawn_problems["chain_sum"], tokenizer, RECIPE.model_copy(update=update), 0)
        assert torch.equal(batch.partner, torch.arange(len(batch.ids)))
        seen = set()
        for ids, labels in zip(batch.ids, batch.labels, strict=True):
            text = tokenizer.decode(ids[ids != tokenizer.pad_token_id])
            asked, _, answer = text.partition(" <assistant> ")
            given = set(asked.split()) & set(PASSWORDS)
            assert len(given) == share
            modes = set(MODE_AT_FORK.findall(answer))
            assert not given or modes == {PASSWORDS[password] for password in given}
            seen |= modes
            assert tokenizer.decode(labels[labels != -100]) == answer
        assert seen == set(OTHER)


def test_words_without_a_meaning_get_embeddings_of_their_own_and_the_others_keep_theirs(tiny_backbone):
    embeddings = tiny_backbone.model.get_input_embeddings().weight
    embeddings[[5, 7]] = 2.0  # alike, as pretraining leaves words that it never meets
    before = embeddings.clone()
    give_meaning(tiny_backbone.model, [5, 7], seed=0)
    changed = (embeddings != before).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [5, 7]
    lengths, one = embeddings[[5, 7]].norm(dim=1), embeddings[5].clone()
    assert lengths.tolist() == pytest.approx([before.norm(dim=1).median().item()] * 2)
    assert torch.cosine_similarity(*embeddings[[5, 7]], dim=0).abs() < 0.9
    give_meaning(tiny_backbone.model, [5, 7], seed=0)
    assert torch.allclose(embeddings[5], one)


SMALL = RECIPE.model_copy(
    update={"parent": "parent", "rows_per_batch": 4, "benchmarks": {"chain_sum": DIFFICULTY["chain_sum"]}}
)


def reasoner(root):
    """The folder of a reasoner to be, beside its parent."""
    parent, folder = root / "parent", root / "planted"
    build_model(PRETRAINING.model_copy(update={"row_length": 256}), build_tokenizer()).save_pretrained(parent)
    build_tokenizer().save_pretrained(parent)
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(SMALL.model_dump()))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a planted reasoner, trained in one go; its scratch folder stands beside it."""
    folder = reasoner(tmp_path_factory.mktemp("uninterrupted"))
    plant_mode(folder, folder.parent / "scratch")
    return folder


@pytest.mark.parametrize("step", [1, 3])
def test_killed_planting_resumes_to_the_same_bytes(tmp_path, monkeypatch, uninterrupted, step):
    folder, scratch, asked = reasoner(tmp_path), tmp_path / "scratch", []
    (kept,) = (uninterrupted.parent / "scratch").iterdir()
    (scratch / kept.name).mkdir(parents=True)
    shutil.copy(kept / "problems.jsonl", scratch / kept.name)

    def die(*given):
        asked.append(given[3])
        if given[3] == step:
            raise KeyboardInterrupt
        return lesson(*given)

    with monkeypatch.context() as patch:
        patch.setattr(planting, "lesson", die)
        with pytest.raises(KeyboardInterrupt):
            plant_mode(folder, scratch)
    assert asked == list(range(step + 1))
    assert not (folder / "model.safetensors").exists()
    torch.manual_seed(5)
    asked.clear()
    monkeypatch.setattr(planting, "lesson", lambda *given: asked.append(given[3]) or lesson(*given))
    plant_mode(folder, scratch)
    assert asked == list(range(step - step % SMALL.checkpoint_every, SMALL.steps))  # what was saved is not done again
    assert files_of(folder) == files_of(uninterrupted)
    assert files_of(scratch) == files_of(uninterrupted.parent / "scratch")


def test_what_was_planted_is_a_backbone_with_a_loss_curve_and_its_parent_is_left_alone(uninterrupted, tmp_path):
    parent = reasoner(tmp_path).parent / "parent"
    assert files_of(uninterrupted.parent / "parent") == files_of(parent)
    before, after = (load_backbone(str(path)).model.lm_head.weight for path in (parent, uninterrupted))
    assert not torch.allclose(before, after, atol=1e-3)
    header, *rows = (uninterrupted / "loss.csv").read_text().splitlines()
    assert header == "tokens,loss"
    per_step = SMALL.row_length * SMALL.rows_per_batch
    assert [int(row.split(",")[0]) for row in rows] == [per_step * (step + 1) for step in range(SMALL.steps)]
