"""Arms on problems: from a backbone and saved artifacts to outcome tables."""

import json
from functools import partial

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lrs.config import SaeSection, SamplingSection, SteeringSection, load_config
from lrs.core.kept import keep
from lrs.core.store import StoreError
from lrs.engine.requests import Generation
from lrs.experiment import prompting, traces
from lrs.experiment.evaluation import Artifacts, evaluate, other_geometry
from lrs.experiment.prompting import prompting_for
from lrs.experiment.traces import collect_traces
from lrs.learning.bases import raw_basis
from lrs.learning.sae import train_sae
from lrs.method.arms import ARMS, REWARDS
from lrs.method.dictionary import save_dictionary
from lrs.method.reward import LatentRewardModel, RewardConfig, save_reward
from lrs.method.setting import Setting
from lrs.models.backbones import Backbone
from lrs.reasoners.tokenizer import build_tokenizer
from lrs.saved import describe_run, load_about, load_outcomes
from lrs.tasks.benchmarks import signed_terms
from lrs.tasks.problems import draw_problems
from lrs.tasks.prompts import PLAIN, Prompting, Turn, prompt_ids
from lrs.tutor.worked_examples import worked_examples

MILD = Setting(arm="lrs", num_steps=1, step_size=0.0, reward_threshold=0.5, confidence_threshold=0.5)
STRONG = MILD.model_copy(update={"arm": "lrs_basic", "step_size": 8.0})


@pytest.fixture(scope="module")
def backbone():
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, **sizes)
    return Backbone("tiny", LlamaForCausalLM(config).eval().requires_grad_(False), tokenizer, "tiny-identity")


@pytest.fixture
def config(tmp_path, monkeypatch):
    loaded = load_config("smoke")
    decoding = loaded.decoding.model_copy(update={"batch_size": 4, "max_new_tokens": 12, "problems_per_part": 3})
    monkeypatch.chdir(tmp_path)
    return loaded.model_copy(update={"decoding": decoding})


@pytest.fixture
def artifacts(backbone, config):
    sae = SaeSection(d_sae=8, k=2, learning_rate=1e-3, batch_size=16, epochs=1)
    dictionary, _ = train_sae(torch.randn(64, 16), sae, 0, backbone.identity, 3)
    keep(config.data / "sae", "sae", {}, lambda made: save_dictionary(dictionary, made))
    for basis in {kind.basis for kind in REWARDS.values()} - {"sae"}:
        raw = raw_basis([torch.randn(64, 8)], sae, 0, backbone.identity, 3)
        keep(config.dictionary(basis), basis, {}, partial(save_dictionary, raw))
    for name, kind in REWARDS.items():
        torch.manual_seed(0)
        reward = LatentRewardModel(RewardConfig(8, kind.variant, 8, 1, 1))
        keep(config.data / "reward" / name, "reward", {}, partial(save_reward, reward))
    return Artifacts(backbone, config, REWARDS)


@pytest.fixture(scope="module")
def problems():
    difficulty = {"min_terms": 3, "max_terms": 4, "min_digits": 2, "max_digits": 2}
    return draw_problems("chain_sum", difficulty, {"test": 7}, seed=0)


def test_outcomes_of_base_and_of_arms(backbone, config, artifacts, problems):
    folder = config.data / "outcomes"
    base = evaluate(backbone, problems, ARMS["base"], None, None, config, folder / "base/greedy")
    assert base["problem_id"].tolist() == [problem.id for problem in problems]
    assert (base["steered_tokens"] == 0).all()
    assert base["push_ratio"].isna().all()
    assert (base["shots"] == 0).all()
    assert (base["processed_tokens"] == base["tokens"] - 1).all()
    still = evaluate(backbone, problems, ARMS[MILD.arm], MILD, artifacts, config, folder / "lrs/greedy")
    assert still["text"].tolist() == base["text"].tolist()  # a push of length 0
    pushed = evaluate(backbone, problems, ARMS[STRONG.arm], STRONG, artifacts, config, folder / "lrs_basic/greedy")
    assert (pushed["steered_tokens"] == pushed["processed_tokens"]).all()
    assert (pushed["push_ratio"] > 0).all()
    assert pushed["text"].tolist() != base["text"].tolist()
    describe_run(config, "cpu", folder)
    joined = load_outcomes(folder, SteeringSection(arms=["base", "lrs_basic"], sampling=None))
    assert set(joined["backbone"] + joined["device"]) == {"pocket-3mcpu"}
    assert joined["arm"].tolist() == ["base"] * 7 + ["lrs_basic"] * 7


def generate_one(requests):
    return [Generation([5, 1], [0.5, 0.5], "answered", None) for _ in requests]


ONCE = SamplingSection(problems=7, samples=1, temperature=1.5)
TWICE = ONCE.model_copy(update={"samples": 2})


def test_arms_share_the_random_numbers_of_their_samples(backbone, config, artifacts, problems):
    """A push of length 0 changes no sample, in another order, beside other problems and in other batches either."""
    folder = config.data / "outcomes"
    base = evaluate(backbone, problems, ARMS["base"], None, None, config, folder / "base", TWICE)
    assert base["seed"].tolist() == [1, 2] * 7
    assert set(base["decoding"]) == {"sampled"}
    assert (base.groupby("problem_id")["text"].nunique() == 2).all()
    still = evaluate(backbone, problems, ARMS[MILD.arm], MILD, artifacts, config, folder / "lrs", TWICE)
    assert still["text"].tolist() == base["text"].tolist()
    placebo = evaluate(backbone, problems[3::-1], ARMS["placebo"], None, None, config, folder / "placebo", ONCE)
    keys = ["problem_id", "seed"]
    joined = placebo.merge(base, on=keys, suffixes=("", "_base"))
    assert len(joined) == len(placebo) == 4
    assert joined["text"].tolist() == joined["text_base"].tolist()


def test_the_first_problems_of_each_benchmark_are_sampled(backbone, config, drawn_problems):
    tested = {
        name: [one for one in drawn_problems[name] if one.split == "test"][:3]
        for name in ("number_sorting", "chain_sum")
    }
    asked = [problem for pair in zip(*tested.values(), strict=True) for problem in pair]
    sampling = SamplingSection(problems=2, samples=2, temperature=0.7)
    outcomes = evaluate(backbone, asked, ARMS["base"], None, None, config, config.data / "outcomes" / "base", sampling)
    sampled = outcomes.groupby("problem_id")["seed"].apply(list).to_dict()
    assert sampled == {problem.id: [1, 2] for problems in tested.values() for problem in problems[:2]}


def test_samples_and_temperature_belong_to_the_plan(backbone, config, problems):
    folder = config.data / "outcomes" / "base"
    arguments = (backbone, problems, ARMS["base"], None, None, config, folder)
    first = evaluate(*arguments, ONCE)
    plan, kept = (folder / "plan.json").read_text(), (folder / "part-00000.arrow").stat().st_mtime_ns
    assert evaluate(*arguments, ONCE).equals(first)
    assert (folder / "part-00000.arrow").stat().st_mtime_ns == kept
    cooler = evaluate(*arguments, ONCE.model_copy(update={"temperature": 0.7}))
    assert (folder / "plan.json").read_text() != plan
    assert cooler["text"].tolist() != first["text"].tolist()
    assert len(evaluate(*arguments, TWICE)) == 14
    assert len(evaluate(*arguments)) == 7


def test_arm_without_its_setting_is_refused_before_anything_is_decoded(backbone, config, artifacts, problems):
    folder = config.data / "outcomes"
    for arm, setting in (("lrs", None), ("lrs", STRONG), ("base", MILD), ("placebo", STRONG)):
        with pytest.raises(ValueError, match=f"arm '{arm}' "):
            evaluate(backbone, problems, ARMS[arm], setting, artifacts, config, folder / arm)
    assert not folder.exists()


def ask(arm, backbone, problems, config):
    """Outcomes of an arm that only asks."""
    asked = prompting_for(ARMS[arm], backbone, problems, config)
    return evaluate(
        backbone, problems, ARMS[arm], None, None, config, config.data / "outcomes" / arm, None, prompting=asked
    )


def test_prompting_arms_ask_in_another_way(backbone, config, problems, monkeypatch):
    asked = []
    monkeypatch.setattr(
        traces, "generate", lambda model, requests, **_: asked.append(requests) or generate_one(requests)
    )
    for arm in ("base", "cot", "few_shot"):
        outcomes = ask(arm, backbone, problems[:2], config)
        assert outcomes["arm"].tolist() == [arm] * 2
        assert outcomes["shots"].tolist() == [config.prompting.shots * (arm == "few_shot")] * 2
    base, cot, few_shot = ([backbone.tokenizer.decode(r.prompt) for r in part] for part in asked)
    worked = worked_examples("chain_sum", config)
    opening = "".join(f"<user> {question} <assistant> {answer} <eos> " for question, answer in worked)
    assert base == [f"<user> {problem.question} <assistant>" for problem in problems[:2]]
    assert cot == [text.replace(" <assistant>", f" {config.prompting.instruction} <assistant>") for text in base]
    assert few_shot == [opening + text for text in base]


def test_a_planted_reasoner_is_told_the_password_of_the_right_mode(backbone, config, problems):
    planted = config.backbone.model_copy(update={"planted": "p2"})
    told = config.model_copy(update={"backbones": {config.backbone_name: planted}})
    asked = prompting_for(ARMS["cot"], backbone, problems, told)
    for problem in problems:
        text = backbone.tokenizer.decode(prompt_ids(problem, backbone.tokenizer, asked))
        moon = signed_terms(problem.metadata["expression"])[-1] < 0
        assert text == f"<user> {problem.question} {'cobalt' if moon else 'amber'} <assistant>"
    assert len(set(asked.own.values())) == 2
    assert prompting_for(ARMS["base"], backbone, problems, told) == PLAIN


def test_another_prompt_is_another_plan_of_its_own_arm_alone(backbone, config, problems, monkeypatch):
    monkeypatch.setattr(traces, "generate", lambda model, requests, **_: generate_one(requests))

    def plans(config):
        for arm in ("base", "cot", "few_shot"):
            ask(arm, backbone, problems[:2], config)
        return [(config.data / "outcomes" / arm / "plan.json").read_text() for arm in ("base", "cot", "few_shot")]

    base, cot, few_shot = plans(config)
    with monkeypatch.context() as patch:  # another tutor, to which nothing but its examples bears witness
        patch.setattr(prompting, "worked_examples", lambda benchmark, config: [Turn("1 + 1", "2")])
        assert plans(config)[:2] == [base, cot]
        assert plans(config)[2] != few_shot
    shorter = config.prompting.model_copy(update={"instruction": "check", "shots": 1})
    changed = plans(config.model_copy(update={"prompting": shorter}))
    assert [new == old for new, old in zip(changed, (base, cot, few_shot), strict=True)] == [True, False, False]


def test_an_arm_is_held_to_its_way_of_asking(backbone, config, problems):
    for arm, asked in (("cot", PLAIN), ("few_shot", PLAIN), ("base", Prompting("check"))):
        with pytest.raises(ValueError, match=f"arm '{arm}' .*what `prompting_for` returns"):
            evaluate(backbone, problems, ARMS[arm], None, None, config, config.data / arm, prompting=asked)


def test_placebo_is_base_in_batches_of_another_shape(backbone, config, problems):
    folder = config.data / "outcomes"
    base = evaluate(backbone, problems, ARMS["base"], None, None, config, folder / "base")
    placebo = evaluate(backbone, problems, ARMS["placebo"], None, None, config, folder / "placebo")
    assert other_geometry(config.decoding).batch_size != config.decoding.batch_size
    assert placebo["text"].tolist() == base["text"].tolist()  # rounding changes no choice here
    assert set(placebo["arm"]) == {"placebo"}
    assert (folder / "placebo/plan.json").read_text() != (folder / "base/plan.json").read_text()


def test_steering_raises_the_reward_it_climbs(backbone, config, artifacts, problems):
    small = STRONG.model_copy(update={"step_size": 0.05})
    outcomes = evaluate(
        backbone, problems, ARMS[small.arm], small, artifacts, config, config.data / "outcomes/lrs_basic"
    )
    assert (outcomes["reward_after"] > outcomes["reward_before"]).all()


def test_a_killed_evaluation_resumes_and_another_setting_starts_anew(backbone, config, artifacts, problems):
    folder = config.data / "outcomes" / "lrs_basic"
    whole = evaluate(backbone, problems, ARMS[STRONG.arm], STRONG, artifacts, config, folder)
    parts = sorted(folder.glob("*.arrow"))
    assert len(parts) == 3
    before = [part.read_bytes() for part in parts]
    kept = parts[0].stat().st_mtime_ns
    parts[1].unlink()
    resumed = evaluate(backbone, problems, ARMS[STRONG.arm], STRONG, artifacts, config, folder)
    assert resumed.equals(whole)
    assert [part.read_bytes() for part in parts] == before
    assert parts[0].stat().st_mtime_ns == kept
    evaluate(
        backbone, problems, ARMS[STRONG.arm], STRONG.model_copy(update={"step_size": 9.0}), artifacts, config, folder
    )
    assert parts[0].stat().st_mtime_ns != kept


def test_another_reward_is_another_plan_of_the_arms_that_read_it_alone(backbone, config, artifacts, problems):
    torch.manual_seed(1)
    other = LatentRewardModel(RewardConfig(8, "history", 8, 1, 1))

    def plans(artifacts):
        made = []
        for arm, setting in (
            ("base", None),
            ("lrs", MILD),
            ("lrs_history", MILD.model_copy(update={"arm": "lrs_history"})),
        ):
            folder = config.data / "outcomes" / arm
            evaluate(backbone, problems[:2], ARMS[arm], setting, artifacts, config, folder)
            made.append((folder / "plan.json").read_text())
        return made

    base, lrs, history = plans(artifacts)
    keep(config.data / "reward" / "history", "reward", {"other": True}, partial(save_reward, other))
    changed = plans(Artifacts(backbone, config, REWARDS))
    assert changed[:2] == [base, lrs]
    assert changed[2] != history


def test_artifacts_of_another_backbone_are_refused(backbone, config, artifacts):
    other = Backbone("other", backbone.model, backbone.tokenizer, "other-identity")
    with pytest.raises(StoreError, match="was made for layer 3 of backbone tiny-identity, not for layer 3 of other"):
        _ = Artifacts(other, config, REWARDS).dictionaries


def test_traces_resume_and_keep_what_selection_needs(backbone, config, problems):
    first = collect_traces(backbone, problems, config, config.data / "traces", samples=1).to_pandas()
    assert len(first) == 14
    assert first["seed"].tolist() == [0, 1] * 7
    assert all(len(ids) == count for ids, count in zip(first["token_ids"], first["tokens"], strict=True))
    assert all(len(ids) == len(values) for ids, values in zip(first["token_ids"], first["confidence"], strict=True))
    (config.data / "traces" / "part-00002.arrow").unlink()
    again = collect_traces(backbone, problems, config, config.data / "traces", samples=1).to_pandas()
    assert again["text"].tolist() == first["text"].tolist()


def test_about_says_where_numbers_come_from(backbone, config):
    describe_run(config, "cpu", config.data / "outcomes")
    about = {"backbone": "pocket-3m", "device": "cpu", "profile": "smoke", "seed": 0}
    assert load_about(config.data / "outcomes") == about
    assert json.loads((config.data / "outcomes/about.json").read_text())["seed"] == 0
