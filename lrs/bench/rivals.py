"""Rivals that steer nothing: several attempts at a problem and a choice among them, under the same judge and seeds.

vote      the answer that is given most often, of equals the first one
ranked    the attempt to which a reward gives the highest probability, averaged over its tokens
any       right if any attempt is: what a perfect choice would reach
guided    one attempt, written block by block, of several blocks the one that a reward prefers (lrs/bench/guided.py)
repaired  the greedy answer, its first wrong step repaired by an oracle (lrs/bench/repair.py)

Beside them stand the unsteered model at other temperatures, since a push that only makes it surer looks like a gain in
samples; the same model with adapters that are trained as the causal rewards are (lrs/bench/adapter.py); the same model
reinforced, if it lies beside it; and the arms of the profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lrs.bench.adapter import train_adapter
from lrs.bench.guided import guided
from lrs.bench.repair import repair, repair_table
from lrs.core.statistics import mcnemar_exact, wilson_interval
from lrs.experiment.evaluation import Artifacts, evaluate
from lrs.experiment.traces import collect_traces
from lrs.learning.latents import encode_traces
from lrs.learning.reward_metrics import trace_scores
from lrs.learning.reward_training import score_traces
from lrs.method.arms import ARMS, rewards_for
from lrs.models.activations import replay_traces
from lrs.models.backbones import Backbone, load_backbone
from lrs.models.devices import describe_device
from lrs.report.comparison import bootstrap_by_problem
from lrs.saved import RIVALS, load_outcomes, write_measured
from lrs.tasks.answers import final_answer
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.problems import Problem, first_of_each, load_problems

if TYPE_CHECKING:
    from lrs.config import Config, SamplingSection, StatisticsSection

_SCRATCH = Path("build/rivals")  # attempts, from which a killed measurement resumes
ATTEMPTS = (2, 4, 8)
RANKED_BY = ("token", "history", "causal")
TEMPERATURES = (0.1, 0.3, 0.5, 1.0)
_KEYS = ["benchmark", "problem_id"]


def majority(answers: Sequence[str | None]) -> int:
    """Which attempt is chosen by vote: the first with the answer that is given most often; no answer is no vote."""
    given = [answer for answer in answers if answer is not None]
    return list(answers).index(max(given, key=given.count)) if given else 0


def choices(attempts: pd.DataFrame, rewards: Sequence[str]) -> pd.DataFrame:
    """What comes of several attempts at each problem.

    Args:
        attempts: a row an attempt: benchmark, problem_id, seed, correct, tokens, finish_reason, answer (None if there
            is none), and a column for each of `rewards`: its mean probability.

    Returns:
        A row a problem, method (one, vote, ranked by a reward, any) and number of attempts: benchmark, problem_id,
        method, attempts, correct and truncated (0 or 1, of the attempt that is chosen), tokens (of all together),
        steered_tokens (none).
    """
    rows = []
    for (benchmark, problem), group in attempts.sort_values("seed").groupby(_KEYS, sort=False):
        right, tokens = group["correct"].to_numpy(dtype=float), group["tokens"].to_numpy()
        cut = (group["finish_reason"] == "truncated").to_numpy(dtype=float)
        answers = group["answer"].tolist()
        chosen = {("one", 1): 0}
        for count in ATTEMPTS:
            chosen["vote", count] = majority(answers[:count])
            for reward in rewards:
                chosen[f"ranked by {reward}", count] = int(group[reward].to_numpy()[:count].argmax())
            chosen["any", count] = int(right[:count].argmax())
        rows += [
            {"benchmark": benchmark, "problem_id": problem, "method": method, "attempts": count}
            | {"correct": right[which], "truncated": cut[which], "tokens": tokens[:count].sum()}
            | {"steered_tokens": 0}
            for (method, count), which in chosen.items()
        ]
    return pd.DataFrame(rows)


def compare_rivals(made: pd.DataFrame, statistics: StatisticsSection, seed: int = 0) -> pd.DataFrame:
    """Accuracy and tokens of every method, all benchmarks pooled, beside one sampled attempt at the same problems.

    Args:
        made: of `choices`, and rows of other methods on the same problems.

    Returns:
        method, attempts, n, accuracy with its Wilson interval, tokens (a problem), truncated and steered_fraction
        (shares, of answers and of processed tokens), delta (over one attempt) with its paired bootstrap interval,
        wins, losses, p_mcnemar.
    """
    one = made[made["method"] == "one"].set_index(_KEYS)["correct"]
    rows = []
    for (method, attempts), group in made.groupby(["method", "attempts"], sort=False):
        right = group.set_index(_KEYS)["correct"].reindex(one.index)
        if right.isna().any():
            raise ValueError(f"{method!r} lacks {int(right.isna().sum())} of {len(one)} problems")
        delta = right - one
        low, high = wilson_interval(right.sum(), len(right), statistics.confidence_level)
        delta_low, delta_high = bootstrap_by_problem(delta, statistics, seed)
        won, lost = int((delta > 0).sum()), int((delta < 0).sum())
        row = {"method": method, "attempts": attempts, "n": len(right), "accuracy": right.mean(), "low": low}
        row |= {"high": high, "tokens": group["tokens"].mean(), "truncated": group["truncated"].mean()}
        row |= {"steered_fraction": group["steered_tokens"].sum() / (group["tokens"] - group["attempts"]).sum()}
        row |= {"delta": delta.mean(), "delta_low": delta_low}
        rows.append(
            row | {"delta_high": delta_high, "wins": won, "losses": lost, "p_mcnemar": mcnemar_exact(won, lost)}
        )
    return pd.DataFrame(rows)


def single(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Outcomes of arms as rows of `choices`, methods by the names of arm and decoding: a greedy answer, and one sample
    (base's is `one`)."""
    first = outcomes[(outcomes["seed"] <= 1) & ~((outcomes["arm"] == "base") & (outcomes["decoding"] == "sampled"))]
    cut = (first["finish_reason"] == "truncated").astype(float)
    first = first.assign(attempts=1, method=first["arm"] + ", " + first["decoding"], truncated=cut)
    told = [*_KEYS, "method", "attempts", "correct", "truncated", "tokens", "steered_tokens"]
    return first.astype({"correct": float})[told]


def others(
    backbone: Backbone, problems: Sequence[Problem], sampling: SamplingSection, config: Config, place: Path
) -> pd.DataFrame:
    """The unsteered model at other temperatures, the reinforced one and one with adapters, as rows of `choices`."""
    base, found = partial(evaluate, arm=ARMS["base"], setting=None, artifacts=None, config=config), []
    for temperature in TEMPERATURES:
        hot = sampling.model_copy(update={"temperature": temperature, "samples": 1})
        outcomes = base(backbone, problems, folder=place / f"temperature-{temperature:g}", sampling=hot)
        found.append(single(outcomes.assign(arm=f"base at {temperature:g}")))
    learned = load_problems(config.data / "problems", split="reward")
    edited = {"adapter": train_adapter(learned, config, place / "adapter")}
    if Path(f"{config.backbone.path}-rl").exists():
        edited["reinforced"] = load_backbone(f"{config.backbone.path}-rl", config.device, config.dtype)
    for name, other in edited.items():
        for decoding, how in {"greedy": None, "sampled": sampling.model_copy(update={"samples": 1})}.items():
            outcomes = base(other, problems, folder=place / name / decoding, sampling=how)
            found.append(single(outcomes.assign(arm=name)))
    return pd.concat(found)


def measure_rivals(config: Config, home: Path = RIVALS) -> pd.DataFrame:
    """Attempt the test problems of one backbone of a profile that was run, choose, and write what comes of it beside
    the profile's arms as `<profile>-<backbone>.csv`; a killed run resumes."""
    sampling = config.steering.sampling
    if public := [name for name in config.benchmarks if BENCHMARKS[name].source]:
        raise ValueError(f"rivals are measured on built-in families alone (profile {config.profile} asks {public[0]})")
    if sampling is None:
        raise ValueError(f"profile {config.profile} answers in no samples, which rivals choose among")
    backbone = load_backbone(config.backbone.path, config.device, config.dtype)
    asked = first_of_each(load_problems(config.data / "problems", split="test"), sampling.problems)
    traces_section = config.traces.model_copy(update={"temperature": sampling.temperature})
    warm = config.model_copy(update={"traces": traces_section})
    place = _SCRATCH / config.profile / config.backbone_name
    stage = f"{config.backbone_name}: attempts"
    traces = collect_traces(backbone, asked, warm, place / "attempts", max(ATTEMPTS), stage)
    artifacts = Artifacts(backbone, config, rewards_for((), shown=RANKED_BY))
    size = config.decoding.batch_size
    activations = replay_traces(backbone, artifacts.layer, traces, asked, size)
    table = traces.select_columns([*_KEYS, "seed", "correct", "tokens", "text", "finish_reason"]).to_pandas()
    for name, model in artifacts.rewards.items():
        latents = encode_traces(artifacts.dictionaries[artifacts.bases[name]], activations, traces)
        scores = trace_scores(score_traces(model, latents, np.arange(len(latents)), size))
        scores = scores[["problem_id", "seed", "mean"]].rename(columns={"mean": name})
        table = table.merge(scores, on=["problem_id", "seed"], how="left")  # of one token, nothing is processed
    table = table[table["seed"] > 0].fillna(dict.fromkeys(RANKED_BY, 0.0))
    answers = [final_answer(*named) for named in zip(table["benchmark"], table["text"], strict=True)]
    made = choices(table.assign(answer=answers), RANKED_BY)
    outcomes = load_outcomes(config.data / "outcomes", config.steering)
    arms = outcomes[outcomes["problem_id"].isin({problem.id for problem in asked})]
    by_block = [guided(backbone, asked, artifacts, name, sampling.temperature, config) for name in RANKED_BY]
    repaired = repair(backbone, asked, config)
    name, device = f"{config.profile}-{config.backbone_name}", describe_device(backbone.device)
    write_measured(repair_table(repaired).assign(device=device), f"{name}-repair", home)
    repaired = repaired.astype({"correct": float}).assign(method="repaired, greedy", attempts=1, steered_tokens=0)
    made = pd.concat([made, *by_block, single(arms), others(backbone, asked, sampling, config, place), repaired])
    compared = compare_rivals(made, config.statistics, config.seed).assign(device=device)
    write_measured(compared, name, home)
    return compared
