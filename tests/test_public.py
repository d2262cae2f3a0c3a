"""The public benchmarks, read from small files of the same columns, and the whole pipeline of profile `paper` on them,
with tiny Qwen2 and Llama models; no hub is asked."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from small_hub import FEW_SAMPLES, ROWS, SHAPE, SMALL, byte_tokenizer, half_right, sums, write_data
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lrs.bench.as_published import measure_as_published, published_prompting, settings_of
from lrs.config import load_config
from lrs.core.store import StoreError
from lrs.experiment.traces import draw_all_problems, jobs_for, plan_of
from lrs.experiment.whole import run_whole
from lrs.method.arms import ARMS
from lrs.method.setting import Setting
from lrs.models.backbones import load_backbone
from lrs.report import paper
from lrs.report.paper import PAPER_SETTINGS
from lrs.report.tables import main_results
from lrs.saved import load_outcomes
from lrs.tasks import hub
from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.hub import SOURCES, held_revision, rows_of, version_of
from lrs.tasks.problems import draw_problems, problem_id, save_problems
from lrs.tasks.prompts import PLAIN, prompt_ids, text_of
from lrs.tasks.splits import assert_unseen
from lrs.tutor.worked_examples import worked_examples


@pytest.fixture
def data(tmp_path, monkeypatch):
    write_data(tmp_path)
    monkeypatch.setenv("LRS_DATA", str(tmp_path))
    monkeypatch.setenv("LRS_STANDS", str(tmp_path / "stands"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def drawn(name, seed=0, **counts):
    return draw_problems(name, {}, counts, seed)


def test_what_is_tested_is_tested_alone_and_what_is_learned_from_is_shared_out(data):
    for name in SOURCES:
        kind = BENCHMARKS[name]
        found = drawn(name, **dict.fromkeys(kind.splits, 1000))
        assert found
        assert {problem.split for problem in found} == set(kind.splits)
        assert len({problem.id for problem in found}) == len(found)
    assert len(drawn("aime_2022_2023", reward=1000, validation=1000)) == 9  # those of 2024 are tested elsewhere


def test_worked_examples_of_public_benchmarks_are_right_and_learned_from(data):
    """One of them is solved wrong, and not shown."""
    rows = json.loads((data / "nlile--hendrycks-MATH-benchmark/rows.json").read_text())
    rows[0]["solution"] = r"So \boxed{4}."
    (data / "nlile--hendrycks-MATH-benchmark/rows.json").write_text(json.dumps(rows))
    config = load_config("paper")
    learned = {problem.question: problem for problem in drawn("math_train", reward=1000)}
    for name in ("math_500", "gpqa_diamond", "math_train"):
        shown = worked_examples(name, config)
        assert len(shown) == config.prompting.shots
        assert all(is_correct(learned[question], answer) for question, answer in shown)
        assert not any(rows[0]["problem"] in question for question, _ in shown)
    lacking = config.model_copy(update={"benchmarks": {"math_500": {}}})
    with pytest.raises(ValueError, match="few_shot on math_500 shows problems of math_train"):
        worked_examples("math_500", lacking)


def test_the_same_problem_in_two_data_sets_is_one(data):
    (data / "HuggingFaceH4--aime_2024/rows.json").write_text(json.dumps(sums(2, start=500)))
    learned = drawn("math_train", reward=1000, validation=1000)
    with pytest.raises(ValueError, match="2 evaluated problems were seen"):
        assert_unseen(drawn("aime_2024", test=10), {problem.id for problem in learned})


def test_a_profile_in_which_a_tested_problem_is_learned_from_is_refused_before_anything_is_run(data):
    (data / "HuggingFaceH4--aime_2024/rows.json").write_text(json.dumps(sums(2, start=500)))
    with pytest.raises(ValueError, match="2 evaluated problems were seen"):
        draw_all_problems(load_config("paper"))


def test_of_a_folder_with_several_splits_the_one_that_is_meant_is_read(data):
    folder = data / "nlile--hendrycks-MATH-benchmark"
    (folder / "rows.json").unlink()
    (folder / "data").mkdir()
    for split, start in (("train", 500), ("test", 900)):
        (folder / f"data/{split}-00000.json").write_text(json.dumps(sums(3, start=start, solution="")))
    learned = drawn("math_train", reward=10, validation=10)
    assert len(learned) == 3
    assert all(int(problem.question.split()[1]) < 600 for problem in learned)


def test_a_folder_is_held_to_what_was_read_of_it_at_first(data):
    lock = data / "stands" / hub.LOCK
    folder = data / "nlile--hendrycks-MATH-benchmark"
    (folder / "train.json").write_text((folder / "rows.json").read_text())
    before = version_of(SOURCES["math_train"])
    (folder / "test.json").write_text(json.dumps(sums(4, start=900)))  # another split
    assert version_of(SOURCES["math_train"]) == before
    (folder / "train.json").write_text(json.dumps(sums(4, start=500)))
    with pytest.raises(StoreError, match="MATH-benchmark is not as it was when it was first used; take 'files of"):
        version_of(SOURCES["math_train"])
    with pytest.raises(StoreError, match="is not as it was"):
        drawn("math_train", reward=1)
    lock.write_text("{,}")
    with pytest.raises(StoreError, match="is no JSON"):
        version_of(SOURCES["math_train"])
    lock.unlink()
    assert version_of(SOURCES["math_train"]) != before


def test_an_empty_folder_is_refused_and_not_held_to(data):
    rows = data / "nlile--hendrycks-MATH-benchmark/rows.json"
    text = rows.read_text()
    rows.unlink()
    with pytest.raises(StoreError, match="holds no"):
        version_of(SOURCES["math_train"])
    rows.write_text(text)
    assert version_of(SOURCES["math_train"])


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"problem": "Which?\nA) one\nB) two\nC) three\nD) four", "solution": "The Answer is B"}, "a letter"),
        ({"problem": "Which?\nA) one\nB) two\nC) three", "solution": "B"}, "choices A to D"),
    ],
)
def test_choices_that_cannot_be_read_are_refused(data, row, fault):
    (data / "nichenshun--gpqa_diamond/rows.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=rf"row 0: ValueError: .*{fault}"):
        list(rows_of(SOURCES["gpqa_diamond"]))


def test_a_list_in_the_question_and_a_choice_of_two_lines_are_kept(data):
    text = "Given\nA. benzene\nB. toluene\nwhich?\nA) one\nB) two\n  lines\nC) three\nD) four"
    (data / "nichenshun--gpqa_diamond/rows.json").write_text(json.dumps([{"problem": text, "solution": "B"}]))
    (problem,) = drawn("gpqa_diamond", test=1)
    assert problem.question.startswith("Given\nA. benzene\nB. toluene\nwhich?\n\nA) ")
    assert problem.metadata["choices"]["ABCD".index(problem.answer)] == "two\n  lines"


def right_letters(**of):
    """The right letter of each question on choices, by its id; each is held to name the choice that is right."""
    found = {}
    for problem in drawn("gpqa_diamond", test=10, **of):
        number = problem.question.split()[2].rstrip("?")
        (line,) = [line for line in problem.question.splitlines() if line.endswith(f"blue {number}")]
        assert line.startswith(f"{problem.answer})")
        assert is_correct(problem, rf"so \boxed{{\text{{{problem.answer}}}}}")
        assert not is_correct(problem, r"\boxed{E}")
        assert problem_id("gpqa_diamond", problem.metadata) == problem.id
        found[problem.id] = problem.answer
    return found


def test_choices_are_dealt_by_the_seed_and_the_right_one_is_followed(data):
    by_seed = [right_letters(seed=seed) for seed in range(12)]
    assert right_letters(seed=3) == by_seed[3]
    assert len({tuple(sorted(letters)) for letters in by_seed}) == 1  # problems are the same ones
    for identifier in by_seed[0]:
        assert {letters[identifier] for letters in by_seed} == set("ABCD")
    assert all(len(set(letters.values())) > 1 for letters in by_seed)  # each question has a lot of its own


def test_what_was_written_for_other_letters_is_stale(data):
    backbone = SimpleNamespace(identity="one", device=torch.device("cpu"))
    plans = [
        plan_of(backbone, jobs_for(drawn("gpqa_diamond", seed, test=10)), load_config("paper")) for seed in (0, 0, 1)
    ]
    assert plans[0] == plans[1] != plans[2]


def test_in_whatever_order_rows_and_choices_came_the_same_is_asked(data):
    before = {problem.id: problem.question for problem in drawn("gpqa_diamond", test=10)}
    names = ["grey", "green", "red", "blue"]
    rows = [
        {"problem": f"Which is {n}?\n\n" + "\n".join(map("{}) {} {}".format, "ABCD", names, [n] * 4)), "solution": "D"}
        for n in reversed(range(6))
    ]
    (data / "nichenshun--gpqa_diamond/rows.json").write_text(json.dumps(rows))
    (data / "stands" / hub.LOCK).unlink()
    assert {problem.id: problem.question for problem in drawn("gpqa_diamond", test=10)} == before
    right_letters()


def test_answers_are_judged_in_their_boxes(data):
    by_kind = {problem.metadata["kind"]: problem for problem in drawn("ineq_math", test=10)}
    assert is_correct(by_kind["bound"], r"\boxed{C = 3}")
    assert is_correct(by_kind["relation"], r"\boxed{(B)}")
    assert not is_correct(by_kind["relation"], r"\boxed{3}")
    (first, *_) = drawn("math_500", test=1)
    assert is_correct(first, r"<think> \boxed{5} </think> \boxed{\frac{6}{2}}")
    assert not is_correct(first, "3")


def test_a_row_that_lacks_a_column_is_named(data):
    (data / "math-ai--amc23/rows.json").write_text(json.dumps([{"question": "?", "answer": 1.0}, {"question": "?"}]))
    with pytest.raises(ValueError, match=r"math-ai/amc23, row 1: TypeError"):
        list(rows_of(SOURCES["amc_23"]))
    (data / "math-ai--amc23/rows.json").unlink()
    with pytest.raises(StoreError, match=r"holds no \.json"):
        list(rows_of(SOURCES["amc_23"]))
    with pytest.raises(ValueError, match="a public data set has no difficulty"):
        draw_problems("math_500", {"level": 3}, {"test": 1}, 0)


def test_a_revision_is_looked_up_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    class Api:
        def repo_info(self, path, repo_type):
            asked.append((path, repo_type))
            return type("Info", (), {"sha": f"revision-{len(asked)}"})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert [held_revision("a/b"), held_revision("a/b"), held_revision("c/d", "model")] == [
        *("revision-1", "revision-1", "revision-2"),
    ]
    assert json.loads(hub.LOCK.read_text()) == {"a/b": "revision-1", "c/d": "revision-2"}
    assert asked == [("a/b", "dataset"), ("c/d", "model")]


def test_processes_that_look_up_at_once_lose_nothing_of_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = threading.Barrier(3)

    class Api:
        def repo_info(self, path, repo_type):
            time.sleep(0.1)  # without a lock, all would have read what was there before
            return type("Info", (), {"sha": f"of {path}"})

    def look_up(path):
        begun.wait()
        return held_revision(path)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(look_up, "abc")) == ["of a", "of b", "of c"]
    assert json.loads(hub.LOCK.read_text()) == {name: f"of {name}" for name in "abc"}


def cached(home, source, revision, rows):
    """A data set where the hub's library leaves what it has downloaded."""
    file = source.file or f"data/{source.split}.json"
    path = home / f"datasets--{source.path.replace('/', '--')}" / "snapshots" / revision / file
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(rows))
    (path.parent / "validation.json").write_text(json.dumps(rows[-1:]))  # which nobody asks for


@pytest.mark.parametrize("name", ["math_500", "ineq_math", "gpqa_diamond"])
def test_what_was_downloaded_comes_without_a_hub_and_of_the_revision_that_is_held(name, tmp_path, monkeypatch):
    source, (held, newer) = SOURCES[name], ("a" * 40, "b" * 40)
    rows = ROWS[source.path]
    monkeypatch.setenv("LRS_STANDS", str(tmp_path))
    monkeypatch.delenv("LRS_DATA", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    cached(tmp_path / "cache", source, held, rows)
    cached(tmp_path / "cache", source, newer, rows[:1])
    (tmp_path / hub.LOCK).parent.mkdir(parents=True)
    for revision, expected in ((held, rows), (newer, rows[:1])):
        (tmp_path / hub.LOCK).write_text(json.dumps({source.path: revision}))
        assert list(rows_of(source)) == [source.read(row) for row in expected]
    (tmp_path / hub.LOCK).write_text(json.dumps({source.path: "c" * 40}))
    refused = f"cannot load {source.path} from the hub .LocalEntryNotFoundError.*or set LRS_DATA to"
    with pytest.raises(StoreError, match=refused):
        list(rows_of(source))


def test_offline_what_is_not_held_yet_cannot_be_looked_up_and_what_is_need_not_be(tmp_path, monkeypatch):
    monkeypatch.setenv("LRS_STANDS", str(tmp_path))
    monkeypatch.delenv("LRS_DATA", raising=False)
    with pytest.raises(StoreError, match=r"cannot load math-ai/amc23 from the hub .OfflineModeIsEnabled"):
        list(rows_of(SOURCES["amc_23"]))
    (tmp_path / hub.LOCK).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / hub.LOCK).write_text(json.dumps({"math-ai/amc23": "abc"}))
    assert hub.version_of(SOURCES["amc_23"]) == "abc"
    monkeypatch.setenv("LRS_DATA", str(tmp_path))
    with pytest.raises(StoreError, match="holds no folder math-ai--amc23 for math-ai/amc23"):
        hub.version_of(SOURCES["amc_23"])


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "named"])
def test_a_folder_may_hold_tables_of_any_of_these_kinds(data, kind):
    source = SOURCES["ineq_math"]
    folder, expected = data / source.path.replace("/", "--"), list(rows_of(source))
    rows = json.loads((folder / "rows.json").read_text())
    (folder / "rows.json").unlink()
    (data / hub.LOCK).unlink(missing_ok=True)
    (data / "stands" / hub.LOCK).unlink()
    if kind == "parquet":
        Dataset.from_list(rows).to_parquet(folder / "dev.parquet")
    elif kind == "jsonl":
        (folder / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        (folder / "dev.json").write_text(json.dumps(rows))
    else:
        (folder / "json").mkdir()
        (folder / source.file).write_text(json.dumps(rows))
        (folder / "train.json").write_text(json.dumps(rows[:1]))  # another split, which nobody asked for
    assert list(rows_of(source)) == expected


@pytest.mark.parametrize("shots", [0, 2, 9])
def test_the_paper_shows_five_worked_examples_whatever_the_profile_does(data, shots):
    config = load_config("paper")
    config = config.model_copy(update={"prompting": config.prompting.model_copy(update={"shots": shots})})
    backbone = SimpleNamespace(tokenizer=byte_tokenizer(), context=config.decoding.max_new_tokens + 1000)
    for benchmark in settings_of(load_config("paper", "orz-7b")):
        problems = drawn(benchmark, test=4)
        assert published_prompting(ARMS["base"], backbone, problems, config) == PLAIN
        prompting = published_prompting(ARMS["few_shot"], backbone, problems, config)
        shown = prompting.examples[benchmark]
        assert len(shown) == 5
        asked = text_of(prompt_ids(problems[0], backbone.tokenizer, prompting), backbone.tokenizer)
        assert asked.endswith(problems[0].question)
        assert [asked.count(f"{example.question}\n{example.answer}\n") for example in shown] == [1] * 5
        narrow = SimpleNamespace(tokenizer=backbone.tokenizer, context=config.decoding.max_new_tokens + 500)
        assert 0 < len(published_prompting(ARMS["few_shot"], narrow, problems, config).examples[benchmark]) < 5


@pytest.mark.parametrize(
    ("name", "hub_name", "kind"),
    [
        ("orz-7b", "Open-Reasoner-Zero--Open-Reasoner-Zero-7B", (Qwen2ForCausalLM, Qwen2Config)),
        ("r1-llama-8b", "deepseek-ai--DeepSeek-R1-Distill-Llama-8B", (LlamaForCausalLM, LlamaConfig)),
    ],
)
def test_the_whole_of_profile_paper_runs_on_small_data_of_the_same_columns(data, monkeypatch, name, hub_name, kind):
    torch.manual_seed(0)
    half_right(data / hub_name, kind[0](kind[1](**SHAPE)))
    config = load_config("paper", name)
    backbone = load_backbone(config.backbone.path)
    monkeypatch.setattr("lrs.bench.as_published.load_backbone", lambda *given: backbone)
    monkeypatch.setattr(paper.published_settings, "__defaults__", (PAPER_SETTINGS.resolve(),))
    assert backbone.name == name
    monkeypatch.chdir(data)
    sampling = config.steering.sampling.model_copy(update=FEW_SAMPLES)
    small = {section: getattr(config, section).model_copy(update=update) for section, update in SMALL.items()}
    small["steering"] = config.steering.model_copy(update={"sampling": sampling})
    backbones = {name: config.backbone.model_copy(update={"layer": 1})}
    config = config.model_copy(update=small | {"device": "cpu", "backbones": backbones})
    problems = draw_all_problems(config)
    save_problems(problems, config.data / "problems")
    outcomes = run_whole(backbone, problems, config)
    tested = {name for name in config.benchmarks if BENCHMARKS[name].transfer}
    assert set(outcomes["benchmark"]) == tested
    table = main_results(load_outcomes(config.data / "outcomes", config.steering), config)
    assert set(table["benchmark"]) == {*tested, "pooled"}
    arms = set(config.steering.arms)
    assert {"lrs_causal", "lrs_slope", "free_push", "trained_constant", "negated", "random"} < arms
    of_each = table.groupby(["benchmark", "decoding"])["arm"].agg(set)
    assert len(of_each) == 2 * len({*tested, "pooled"})
    assert all(shown == arms for shown in of_each)
    counted = outcomes.groupby(["benchmark", "decoding", "problem_id", "seed"])["arm"].agg(list)
    assert all(sorted(shown) == sorted(arms) for shown in counted)  # each problem was asked by each, once
    sampled = table[(table["benchmark"] == "pooled") & (table["decoding"] == "sampled")].set_index("arm")
    assert 0 < sampled.loc["base", "accuracy"] < 1
    if name == "orz-7b":
        asked = settings_of(config)
        assert set(asked) == tested  # one for each benchmark that the paper has
        assert asked["math_500"] == Setting(
            arm="lrs_published", num_steps=1, step_size=1.4, reward_threshold=0.8, confidence_threshold=0.69
        )
        published = measure_as_published(config).set_index(["benchmark", "arm"])
        assert published.loc["aime_2025", "lrs_published"][["num_steps", "step_size"]].tolist() == [3, 1.32]
        own = outcomes[(outcomes["arm"] == "base") & (outcomes["decoding"] == "greedy")]
        for benchmark, group in own.groupby("benchmark"):
            assert published.loc[(benchmark, "base"), "accuracy"] == group["correct"].mean()
            shots = [int(published.loc[(benchmark, arm), "shots"]) for arm in ("base", "few_shot", "lrs_published")]
            assert shots == [0, 5, 0]  # the profile's are fewer
        assert set(outcomes.loc[outcomes["arm"] == "few_shot", "shots"]) == {1}
        assert (data / f"data/as_published/paper-{name}.csv").exists()
    else:
        with pytest.raises(ValueError, match="no settings for backbone 'r1-llama-8b'; legal: orz-7b, orz-1b5"):
            settings_of(config)
