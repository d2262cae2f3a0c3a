"""Every figure draws from synthetic data what was looked at, inside its canvas; files have the same bytes each time."""

import ast
import hashlib
import json
import os
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from PIL import Image

from lrs.bench.stitch import MOVED
from lrs.config import StatisticsSection, load_config
from lrs.core.statistics import auroc, calibration_bins
from lrs.figures import bench, latents, reasoner, results, reward, sae, select, style, traces
from lrs.figures.assay import assay_figure
from lrs.figures.budget import budget_figure
from lrs.figures.chance import sweep_figure
from lrs.figures.changes import transitions_figure
from lrs.figures.frontier import frontier_figure
from lrs.figures.mediation import mediation_figure
from lrs.figures.method import method_figure
from lrs.figures.palette import (
    ARM_COLORS,
    BEHAVIOR_COLORS,
    PATH_COLORS,
    REWARD_COLORS,
    arm_color,
    arm_label,
)
from lrs.figures.power import power_figure
from lrs.figures.promoted import promoted_figure
from lrs.figures.style import PAGE, count_range, save_figure, show
from lrs.figures.sweep import swept_figure
from lrs.figures.transfer import stitched_figure, transfer_figure
from lrs.method.arms import ARMS, STEERED, TUNED
from lrs.report.assay import assay_table
from lrs.report.budget import STAGES
from lrs.report.chance import sweep_table
from lrs.report.comparison import POOLED, behavior_shares, compare_arms
from lrs.report.mediation import mediation_table
from lrs.report.paper import read_paper_table
from lrs.report.promoted import promoted_table
from lrs.report.sentences import SMOKE_MARK
from lrs.report.stitched import stitched_table
from lrs.saved import as_run, describe_run
from lrs.tasks.behaviors import BEHAVIORS

pytestmark = pytest.mark.filterwarnings("error")


FAST = StatisticsSection(confidence_level=0.95, bootstrap_resamples=100)
FEW = ("base", "cot", "lrs_basic", "lrs", "random")
TWO = ("countdown", "chain_sum")
SIX = (*TWO, "gcd", "basic_arithmetic", "prime_factorization", "number_sorting")


def outcomes_frame(seeds, arms=FEW, problems=40, benchmarks=TWO):
    """Random outcomes of each arm; seed 0 is greedy."""
    rng = np.random.default_rng(0)
    keys = pd.MultiIndex.from_product(
        [benchmarks, range(problems), arms, seeds], names=["benchmark", "problem_id", "arm", "seed"]
    )
    frame = keys.to_frame(index=False)
    frame["decoding"] = frame["seed"].eq(0).map({True: "greedy", False: "sampled"})
    frame["correct"] = rng.random(len(frame)) < 0.6
    frame["tokens"] = rng.integers(20, 257, len(frame))
    frame["finish_reason"] = np.where(frame["tokens"] < 256, "answered", "truncated")
    frame["steered_tokens"], frame["processed_tokens"] = 10, 40
    frame = frame.assign(
        backbone="pocket", split="test", **{behavior: rng.poisson(0.5, len(frame)) for behavior in BEHAVIORS}
    )
    frame = frame[frame["seed"].eq(0) | (frame["problem_id"] < problems / 4)]  # some problems alone are sampled
    return frame.assign(problem_id=frame["benchmark"] + frame["problem_id"].astype(str))


@cache
def main_table(seeds, benchmarks=TWO, arms=FEW):
    return compare_arms(
        outcomes_frame(seeds, arms, benchmarks=benchmarks),
        FAST,
    )


@cache
def share_rows(seeds, arms=FEW, benchmarks=TWO):
    return behavior_shares(outcomes_frame(seeds, arms, benchmarks=benchmarks), 0.95)


def reward_scores():
    """Traces of 75 problems, four each, and what two rewards, of which the second knows more, say of them."""
    rng = np.random.default_rng(0)
    keys = pd.DataFrame(
        {"problem_id": np.arange(300) // 4, "seed": np.arange(300) % 4, "correct": rng.random(300) < 0.6}
    )
    return {
        name: keys.assign(mean=1 / (1 + np.exp(rng.normal(size=300) - k * keys["correct"])))
        for name, k in (("token", 1), ("history", 2))
    }


def positions_frame():
    rows = [
        (variant, place, 0.6 + place * gain)
        for variant, gain in (("token", 0.1), ("history", 0.3))
        for place in (0.25, 0.75)
    ]
    frame = pd.DataFrame(rows, columns=["variant", "position", "auroc"])
    return frame.assign(low=frame["auroc"] - 0.05, high=frame["auroc"] + 0.05, n=80)


def reward_history():
    rows = [
        (variant, epoch, 0.7 - 0.05 * epoch, 0.6 + 0.01 * epoch)
        for variant in ("token", "history")
        for epoch in range(4)
    ]
    return pd.DataFrame(rows, columns=["variant", "epoch", "train_loss", "auroc"]).assign(n=30)


def grid_frame(gated=True, decodings=("greedy",)):
    quantiles = {"lrs_basic": [np.nan], "lrs": [0.25, 0.5]} if gated else {"lrs_basic": [None]}
    rows = [
        (arm, decoding, size, q)
        for arm, values in quantiles.items()
        for decoding in decodings
        for size in (0.5, 1.0, 2.0)
        for q in values
    ]
    frame = pd.DataFrame(rows, columns=["arm", "decoding", "step_size", "reward_quantile"])
    frame["delta"] = np.linspace(-0.02, 0.02, len(frame))
    return frame.assign(
        num_steps=1,
        accuracy=0.5 + frame["delta"],
        delta_low=frame["delta"] - 0.01,
        delta_high=frame["delta"] + 0.01,
        dose=0.05 * frame["step_size"],
        chosen=frame["step_size"] == 1.0,
        n=300,
    )


def grid_of_many():
    """More arms than stand side by side."""
    arms = [name for name in STEERED if name not in TUNED][:30]
    many = pd.concat([grid_frame(False).assign(arm=arm) for arm in arms], ignore_index=True)
    return many.assign(**{name: 5 * many[name] for name in ("delta", "delta_low", "delta_high")})


def causal_curves(names=("causal", "constant")):
    """Some rewards on two benchmarks."""
    rows = [(name, step, benchmark) for name in names for step in range(12) for benchmark in "ab"]
    frame = pd.DataFrame(rows, columns=["reward", "step", "benchmark"])
    return frame.assign(n=96, correct=np.linspace(0.3, 0.7, len(frame)))


def sae_history():
    step = np.arange(0, 500, 100)
    return pd.DataFrame({"step": step, "reconstruction_loss": 1 / (1 + step), "dead_fraction": step / 5000})


def costs_frame():
    paths = ("hf_generate", "unsteered", "lrs_token", "lrs_history", "naive", "naive_history")
    rows = [(name, path) for name in ("pocket-3m, batch 128", "random-28m, batch 128") for path in paths]
    frame = pd.DataFrame(rows, columns=["workload", "path"])
    frame["ratio_to_unsteered"] = np.tile([0.1, 1, 0.9, 0.7, 0.05, 0.03], 2)
    low, high = 0.9 * frame["ratio_to_unsteered"], 1.1 * frame["ratio_to_unsteered"]
    return frame.assign(
        device="cpu",
        model=frame["workload"].str.split(",").str[0],
        batch=128,
        problems=384,
        rounds=5,
        tokens_per_s=3000 * frame["ratio_to_unsteered"],
        ratio_to_unsteered_low=low,
        ratio_to_unsteered_high=high,
    )


def cost_frame():
    grid = {"batch": (1, 8, 128), "length": (32, 256), "num_steps": (1, 8), "d_sae": (32, 2048), "width": (32, 256)}
    points = [(quantity, value) for quantity, values in grid.items() for value in values]
    rows = [(*point, path, 10 + value**0.5) for *point, value in ((*p, p[1]) for p in points) for path in PATHS]
    frame = pd.DataFrame(rows, columns=["quantity", "value", "path", "milliseconds"])
    frame["milliseconds"] *= frame["path"].map({"unsteered": 1, "lrs_token": 1.5, "lrs_history": 2})
    ratio = frame["path"].map({"unsteered": 1.0, "lrs_token": 1.5, "lrs_history": 2.0})
    return frame.assign(device="cpu", model="pocket-3m", ratio=ratio, ratio_low=0.9 * ratio, ratio_high=1.1 * ratio)


def learning_curve():
    rng = np.random.default_rng(0)
    rows = [(step, benchmark) for step in range(25) for benchmark in SIX[:5]]
    shares = {name: rng.uniform(0.3, 0.6, len(rows)) for name in ("correct", *BEHAVIORS)}
    return pd.DataFrame(rows, columns=["step", "benchmark"]).assign(**shares)


def latent_rows():
    rng = np.random.default_rng(0)
    columns = [*(f"in_{behavior}" for behavior in BEHAVIORS), "correct_within", "with_length", "shapley", "pushed"]
    table = pd.DataFrame(rng.normal(size=(10, len(columns))), columns=columns)
    return table.assign(latent=range(10), shapley_se=0.2, pushed_se=0.1)


def word_rows():
    rows = {"word": ["check", "back"], "latent": [1, 2], "genuine": [2.0, 3.0], "put_in": [1.9, 0.5]}
    errors = {"genuine_se": [0.2, 0.3], "put_in_se": [0.1, np.nan]}
    return pd.DataFrame(rows | errors | {"n_genuine": [8, 9], "n_put_in": [20, 1]})


def path_rows():
    """Of two arms, one of which broke nothing."""
    changed = [("lrs_slope", "repaired"), ("lrs_slope", "broken"), ("lrs", "repaired")]
    rows = [(by, change, arm, place + 1) for by, change in changed for arm in ("base", by) for place in range(10)]
    means = np.linspace(0.4, 0.6, len(rows))
    frame = pd.DataFrame(rows, columns=["by", "change", "arm", "place"]).assign(n=20, mean=means)
    return frame.assign(low=means - 0.05, high=means + 0.05)


def push_rows(arms=("lrs", "lrs_causal")):
    lines = [(quantity, arm) for quantity in ("gate", "push") for arm in arms]
    lines += [("instability", "right"), ("instability", "wrong")]
    rows = [(quantity, line, place + 1) for quantity, line in lines for place in range(10)]
    means = np.linspace(0.1, 0.6, len(rows))
    frame = pd.DataFrame(rows, columns=["quantity", "line", "place"]).assign(n=48, mean=means)
    return frame.assign(low=means - 0.05, high=means + 0.05)


def head_rows():
    rows = [(arm, layer, head) for arm in ("lrs", "lrs_causal") for layer in (4, 5) for head in range(4)]
    frame = pd.DataFrame(rows, columns=["arm", "layer", "head"])
    return frame.assign(change=np.linspace(0.0, 0.3, len(rows)), n=48)


CASES = [("lrs", "first repaired", "p"), ("lrs", "first broken", "q")]


def context_rows():
    """Two latents with two and one contexts, one of them longer before its strongest token than is shown."""
    rows = [(7, 2.0, "a b c d", [0, 2.0, 0.5, 0], 1), (7, 2.0, "w " * 20 + "x y", [0.0] * 20 + [1.5, 0.1], 20)]
    rows.append((3, 0.4, "e f", [0.4, 0.0], 0))
    table = pd.DataFrame(rows, columns=["latent", "highest", "words", "values", "at"])
    return table.assign(words=table["words"].str.split())


def case_rows():
    texts = {("p", "base"): "a b c d", ("p", "lrs"): "a b x y z " * 12, ("q", "base"): "e f", ("q", "lrs"): "e g"}
    told = {"by": "lrs", "pushed": []}
    rows = [{"problem_id": name, "arm": arm, "words": text.split()} | told for (name, arm), text in texts.items()]
    rows[1]["pushed"] = [place in (2, 40) for place in range(len(rows[1]["words"]))]
    return pd.DataFrame([row | {"rewards": np.linspace(0, 1, len(row["words"])).tolist()} for row in rows])


def budget_rows():
    arms = ("cot", "free_push", "lrs_causal", "lrs")
    gains = np.array([0.2, 0.15, 0.1, 0.0])
    frame = pd.DataFrame({"arm": arms, "stage": [STAGES[arm] for arm in arms], "gain": gains, "n": 100})
    return frame.assign(backbone="toy", decoding="greedy", low=gains - 0.03, high=gains + 0.03)


def swept_rows(decodings=("greedy", "sampled")):
    """Two arms over all that is swept; the one without a gate has no thresholds."""
    gates, none = [(r, c) for r in (0.1, 0.3, 0.6) for c in (0.0, 0.1, 0.3)], [(np.nan, np.nan)]
    rows = []
    for decoding, (arm, gate) in product(decodings, {"lrs": [(0.3, 0.1)], "lrs_causal": none}.items()):
        asked = [("step", np.nan, k, alpha, *gate[0]) for k in (1, 2, 4) for alpha in (0.5, 1.0, 2.0, 4.0)]
        asked += [("threshold", np.nan, 1, 2.0, *pair) for pair in (gates if arm == "lrs" else none)]
        asked += [("layer", layer, 1, 2.0, *gate[0]) for layer in range(6)]
        asked += [("latents", count, 1, 2.0, *gate[0]) for count in (32, 64, 128, 256)]
        asked += [("joint", weight, 1, 2.0, *gate[0]) for weight in (0.0, 0.2, 1.0) if arm == "lrs_causal"]
        rows += [(decoding, arm, *place) for place in asked]
    names = ["decoding", "arm", "quantity", "value", "num_steps", "step_size", "reward_quantile", "confidence_quantile"]
    frame = pd.DataFrame(rows, columns=names)
    delta, dose = 0.12 * np.sin(np.arange(len(frame))), 0.02 * frame["num_steps"] * frame["step_size"]
    own = frame["value"].isin([3, 128, 0.2]) | (frame["quantity"].eq("step") & frame["num_steps"].eq(1))
    frame = frame.assign(delta=delta, delta_low=delta - 0.025, delta_high=delta + 0.03, own=own, dose=dose)
    return frame.assign(n=500, shown=True, within_cap=dose <= 0.1, backbone="pocket", device="cpu")


@cache
def assay_rows():
    return assay_table(outcomes_frame((0, 1), tuple(ARMS), benchmarks=SIX), FAST)


@cache
def promoted_rows(arms=FEW):
    return promoted_table(outcomes_frame((0,), arms), FAST)


@cache
def chance_rows():
    return sweep_table([0.05, 0.2], 0.95, 0)


@cache
def mediation_rows(seeds, arms=FEW):
    return mediation_table(outcomes_frame(seeds, arms), FAST)


def transition_rows(decodings, arms=("cot", "lrs", "free_push")):
    """Of some arms, 200 answers each."""
    rng = np.random.default_rng(0)
    keys = product(decodings, arms, ("both right", "repaired", "broken", "both wrong"))
    frame = pd.DataFrame(keys, columns=["decoding", "arm", "change"])
    frame["n"] = np.tile([90, 40, 20, 50], len(frame) // 4)
    for behavior in BEHAVIORS:
        frame[f"opens_{behavior}"] = rng.integers(0, 5, len(frame))
    return frame


def power_runs(methods=("lrs", "lrs_causal")):
    """Three runs of each of four doses."""
    keys = product(("greedy", "sampled"), methods, (0.0, 0.05, 0.1, 0.2), range(3))
    frame = pd.DataFrame(keys, columns=["decoding", "method", "dose", "seed"])
    gain = frame["dose"] * (0.4 + 0.1 * frame["seed"]) * (0.5 + frame["method"].map(list(methods).index) / len(methods))
    frame = frame.assign(n=400, ceiling=frame["dose"] + 0.01 * frame["seed"], gain=gain, mde=0.03)
    return frame.assign(p_holm=np.where(gain > 0.06, 0.001, 0.5))


def rival_rows(arms=("cot", "lrs", "lrs_causal", "base at 0.1", "base at 1")):
    """One sample, what is chosen among several, and one answer of each arm."""
    many = [(name, count) for count in (2, 4, 8) for name in ("vote", "ranked by token", "ranked by history", "any")]
    guided = [("guided by token", 4), ("guided by history", 4)]
    single = [(f"{arm}, {decoding}", 1) for arm in ("base", *arms) for decoding in ("greedy", "sampled")]
    single = [row for row in single if not row[0].startswith("base at") or row[0].endswith("sampled")]
    frame = pd.DataFrame([("one", 1), *many, *guided, *single], columns=["method", "attempts"])
    accuracy = np.linspace(0.4, 0.8, len(frame))
    frame = frame.assign(n=500, accuracy=accuracy, low=accuracy - 0.04, high=accuracy + 0.04)
    return frame.assign(tokens=frame["attempts"] * np.linspace(60, 90, len(frame)))


def transfer_rows():
    rows = pd.DataFrame(product(("countdown", "chain_sum", "all"), TWO), columns=["learned_from", "asked_about"])
    auroc_found = np.linspace(0.35, 0.85, len(rows))
    return rows.assign(problems=16, auroc=auroc_found, low=auroc_found - 0.1, high=auroc_found + 0.1)


def stitched_rows():
    """Of one backbone, both decodings, by what was learned on it and on another."""
    missing = dict.fromkeys(("less_own", "less_own_low", "less_own_high"))
    table = main_table((0, 1, 2), TWO, MOVED).assign(explained_variance=0.7, **missing)
    other = table.assign(learned_on="purse", **{end: table[end] / 2 for end in ("delta", "delta_low", "delta_high")})
    return stitched_table(pd.concat([table.assign(learned_on="pocket"), other]))


REWARDED = tuple(name for name in ARM_COLORS if name in STEERED)
PATHS = ("unsteered", "lrs_token", "lrs_history")
FIGURES = {
    "loss": lambda **how: reasoner.loss_figure(
        pd.DataFrame({"tokens": range(1, 90), "loss": np.geomspace(5, 0.1, 89)}), **how
    ),
    "learning_six": lambda **how: reasoner.learning_figure(learning_curve(), **how),
    "speed": lambda **how: bench.speed_figure(costs_frame(), **how),
    "cost_curves": lambda **how: bench.cost_curves_figure(cost_frame(), **how),
    "behavior_rates": lambda **how: traces.behavior_rates(outcomes_frame((0, 1, 2), arms=("base",)), **how),
    "behavior_rates_greedy": lambda **how: traces.behavior_rates(outcomes_frame((0,), arms=("base",)), **how),
    "length": lambda **how: traces.length_figure(outcomes_frame((0, 1), arms=("base",)), max_new_tokens=256, **how),
    "accuracy_by_decoding": lambda **how: traces.accuracy_by_decoding(outcomes_frame((0, 1), arms=("base",)), **how),
    "sae_training": lambda **how: sae.sae_training_figure(sae_history(), **how),
    "sae_training_variance": lambda **how: sae.sae_training_figure(sae_history().assign(explained_variance=0.8), **how),
    "density": lambda **how: sae.density_figure(np.array([0.0, 0.0, 0.001, 0.02, 0.5, 1.0]), **how),
    "density_all_dead": lambda **how: sae.density_figure(np.zeros(4), **how),
    "roc": lambda **how: reward.roc_figure(reward_scores(), **how),
    "calibration": lambda **how: reward.calibration_figure(reward_scores(), **how),
    "auroc_by_position": lambda **how: reward.auroc_by_position_figure(positions_frame(), **how),
    "reward_training": lambda **how: reward.reward_training_figure(reward_history(), **how),
    "grid": lambda **how: select.grid_figure(grid_frame(), 0.1, **how),
    "causal": lambda **how: reward.causal_figure(causal_curves(), **how),
    "grid_two": lambda **how: select.grid_figure(grid_frame(decodings=("greedy", "sampled")), 0.1, **how),
    "grid_ungated": lambda **how: select.grid_figure(grid_frame(gated=False), 0.1, **how),
    "delta": lambda **how: results.delta_figure(main_table((0, 1)), **how),
    "delta_greedy": lambda **how: results.delta_figure(main_table((0,)), **how),
    "behaviors": lambda **how: results.behaviors_figure(share_rows((0, 1)), **how),
    "behaviors_greedy": lambda **how: results.behaviors_figure(share_rows((0,)), **how),
    "delta_six": lambda **how: results.delta_figure(main_table((0, 1, 2), SIX), **how),
    "delta_many": lambda **how: results.delta_figure(main_table((0,), SIX, tuple(ARMS)), **how),
    "behaviors_six": lambda **how: results.behaviors_figure(share_rows((0, 1, 2), FEW, SIX), **how),
    "behaviors_many": lambda **how: results.behaviors_figure(share_rows((0,), tuple(ARMS)), **how),
    "behaviors_many_sampled": lambda **how: results.behaviors_figure(share_rows((0, 1), tuple(ARMS)[:30], SIX), **how),
    "promoted_many": lambda **how: promoted_figure(promoted_rows(tuple(ARMS)), **how),
    "mediation_many": lambda **how: mediation_figure(mediation_rows((0, 1), tuple(ARMS)), **how),
    "transitions_many": lambda **how: transitions_figure(transition_rows(("greedy", "sampled"), tuple(ARMS)), **how),
    "grid_many": lambda **how: select.grid_figure(grid_of_many(), 0.1, **how),
    "assay_many": lambda **how: assay_figure(assay_rows(), **how),
    "behavior_rates_six": lambda **how: traces.behavior_rates(outcomes_frame((0, 1), ("base",), benchmarks=SIX), **how),
    "behavior_rates_four": lambda **how: traces.behavior_rates(
        outcomes_frame((0, 1), ("base",), benchmarks=SIX[:4]), **how
    ),
    "length_six": lambda **how: traces.length_figure(outcomes_frame((0, 1), ("base",), benchmarks=SIX), 256, **how),
    "paper": lambda **how: results.paper_figure(read_paper_table(), **how),
    "meaning": lambda **how: latents.meaning_figure(latent_rows(), **how),
    "words": lambda **how: latents.words_figure(word_rows(), **how),
    "contexts": lambda **how: latents.contexts_figure(context_rows(), **how),
    "reward_paths": lambda **how: latents.reward_paths_figure(path_rows(), **how),
    "push_paths": lambda **how: latents.push_paths_figure(push_rows(), **how),
    "heads": lambda **how: latents.heads_figure(head_rows(), **how),
    "cases": lambda **how: latents.cases_figure(case_rows(), CASES, {"p": "sum 1 2", "q": "sum 3 4"}, **how),
    "budget": lambda **how: budget_figure(budget_rows(), **how),
    "mediation": lambda **how: mediation_figure(mediation_rows((0, 1)), **how),
    "swept_two": lambda **how: swept_figure(swept_rows(), **how),
    "swept_greedy": lambda **how: swept_figure(swept_rows(("greedy",)), **how),
    "swept_lines": lambda **how: swept_figure(swept_rows().query("quantity == 'layer'"), **how),
    "promoted": lambda **how: promoted_figure(promoted_rows(), **how),
    "method": method_figure,
    "chance": lambda **how: sweep_figure(chance_rows(), **how),
    "power": lambda **how: power_figure(power_runs(), 0.95, **how),
    "power_many": lambda **how: power_figure(power_runs(REWARDED[:8]), 0.95, **how),
    "frontier": lambda **how: frontier_figure(rival_rows(), **how),
    "frontier_many": lambda **how: frontier_figure(rival_rows(REWARDED[:16]), **how),
    "transfer": lambda **how: transfer_figure(transfer_rows(), **how),
    "stitched": lambda **how: stitched_figure(stitched_rows(), **how),
    "causal_all": lambda **how: reward.causal_figure(causal_curves(tuple(REWARD_COLORS)), **how),
    "push_paths_many": lambda **how: latents.push_paths_figure(push_rows(REWARDED[:4]), **how),
    "transitions": lambda **how: transitions_figure(transition_rows(("greedy", "sampled")), **how),
    "transitions_greedy": lambda **how: transitions_figure(transition_rows(("greedy",)), **how),
    "mediation_greedy": lambda **how: mediation_figure(mediation_rows((0,)), **how),
}
LOOKED_AT = Path(__file__).with_name("drawn.json")  # digests of what each of these drew when it was last looked at


def drawn_data(figure):
    """A digest of what a figure draws: every line, bar, area, dot and image, in its colors, and every text, whatever
    the font."""
    parts, looks = [], []
    for axis in figure.axes:
        parts += [line.get_xydata() for line in axis.lines]
        parts += [patch.get_patch_transform().transform(patch.get_path().vertices) for patch in axis.patches]
        parts += [area.get_offsets() for area in axis.collections]
        parts += [path.vertices for area in axis.collections for path in area.get_paths()]
        parts += [color for area in axis.collections for color in (area.get_facecolor(), area.get_edgecolor())]
        parts += [image.get_array() for image in axis.images]
        parts.append(np.array([*axis.get_xlim(), *axis.get_ylim()]))
        for line in axis.lines:
            colors = [to_hex(color) for color in (line.get_color(), line.get_markerfacecolor()) if color != "none"]
            looks.append([*colors, str(line.get_marker()), str(line.get_linestyle())])
        looks += [[to_hex(patch.get_facecolor(), keep_alpha=True)] for patch in axis.patches]
    figure.draw_without_rendering()
    numbers = [np.asarray(part, dtype=float).round(3).tolist() for part in parts]
    texts = []
    for text in figure.findobj(Text):
        box = text.get_bbox_patch()
        behind = to_hex(box.get_facecolor(), keep_alpha=True) if box else ""
        texts.append([text.get_text(), to_hex(text.get_color()), behind])
    return hashlib.sha256(json.dumps([numbers, looks, sorted(texts)]).encode()).hexdigest()[:16]


def shown_in(figure):
    """All texts of a figure."""
    return {text.get_text() for text in figure.findobj(Text)}


def test_what_no_page_would_hold_is_left_out():
    """No arm and no benchmark, but controls where one line an arm and decoding would be too many for a page."""
    blocks = {name.replace("_", "\n") for name in main_table((0,), SIX, tuple(ARMS))["benchmark"]}
    assert blocks | {arm_label(arm) for arm in ARMS if arm != "base"} <= shown_in(FIGURES["delta_many"](about="toy"))
    shown = shown_in(FIGURES["behaviors_many"](about="toy"))
    assert {arm for arm in ARMS if arm_label(arm) in shown} == {arm for arm in ARMS if ARMS[arm].group != "control"}
    assert {arm_label(arm) for arm in tuple(ARMS)[:30]} <= shown_in(FIGURES["behaviors_many_sampled"](about="toy"))
    named = [label.get_text() for label in FIGURES["assay_many"](about="toy").axes[0].get_yticklabels()]
    assert named == ["ceiling: told how", *(arm_label(arm) for arm in ARMS if arm not in ("base", "cot"))]


def test_bars_stand_beside_their_own_arm_where_a_decoding_lacks_one():
    table = transition_rows(("greedy", "sampled"))
    lacking = table[(table["decoding"] == "greedy") | (table["arm"] != "cot")]
    wide = [
        sum(bar.get_width() for bar in axis.patches if bar.get_width() > 0 and round(bar.get_y() + 0.35) == 2)
        for axis in transitions_figure(lacking, about="toy").axes
    ]
    assert wide == pytest.approx([0.2, 0.2])  # of the last arm, whichever is missing


def test_every_figure_of_the_package_is_looked_at():
    """A function under `styled` is one of `FIGURES`, and nothing is remembered that is not."""
    modules = [ast.parse(path.read_text("utf-8")) for path in Path(style.__file__).parent.glob("*.py")]
    functions = [node for module in modules for node in module.body if isinstance(node, ast.FunctionDef)]
    styled = {node.name for node in functions if "styled" in map(ast.unparse, node.decorator_list)}
    called = {name for draw in FIGURES.values() for name in (draw.__name__, *draw.__code__.co_names)}
    assert styled - called == set()
    assert len(styled) > 20
    assert set(json.loads(LOOKED_AT.read_text("utf-8"))) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_drawn_is_what_was_looked_at(name):
    """After a change, look at the figure; then LRS_LOOKED_AT=1 makes what it draws the expected."""
    expected, found = json.loads(LOOKED_AT.read_text("utf-8")), drawn_data(FIGURES[name](about="toy"))
    if os.environ.get("LRS_LOOKED_AT"):
        LOOKED_AT.write_text(json.dumps(expected | {name: found}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return
    assert found == expected[name]


def test_a_figure_that_draws_something_else_is_found():
    rows = word_rows()
    same = [drawn_data(latents.words_figure(rows, about="toy")) for _ in range(2)]
    assert same[0] == same[1]
    assert drawn_data(latents.words_figure(rows.assign(genuine=rows["genuine"] * 1.01), about="toy")) != same[0]
    assert drawn_data(latents.words_figure(rows, about="another")) != same[0]
    cases = case_rows()
    backwards = cases.assign(rewards=[rewards[::-1] for rewards in cases["rewards"]])
    told = [drawn_data(latents.cases_figure(table, CASES, {"p": "1", "q": "2"})) for table in (cases, backwards)]
    assert told[0] != told[1]
    unmarked = cases.assign(pushed=[[]] * len(cases))
    assert drawn_data(latents.cases_figure(unmarked, CASES, {"p": "1", "q": "2"})) != told[0]


CROWDED = [name for name in FIGURES if name.endswith(("_six", "_four", "_two", "_many", "delta"))]


@pytest.mark.parametrize("name", sorted({*CROWDED} - {"promoted_many"}))  # two labels of which are of four panels each
def test_panels_do_not_run_into_one_another(name):
    figure = FIGURES[name]()
    boxes = [axis.get_tightbbox() for axis in figure.axes if axis.get_visible()]
    overlaps = [
        (a.extents, b.extents) for i, a in enumerate(boxes) for b in boxes[:i] if a.shrunk(0.98, 0.98).overlaps(b)
    ]
    assert overlaps == []


@pytest.mark.parametrize("name", ["sae_training", "delta"])
def test_files_are_byte_identical_saved_again_and_drawn_anew(name, tmp_path):
    figure = FIGURES[name]()
    first, again = (save_figure(figure, tmp_path / folder, name) for folder in ("first", "again"))
    anew = save_figure(FIGURES[name](), tmp_path / "anew", name)
    assert [path.suffix for path in first] == [".png", ".pdf"]
    for one, two, three in zip(first, again, anew, strict=True):
        assert one.read_bytes() == two.read_bytes() == three.read_bytes()
    assert b"matplotlib" not in first[0].read_bytes().lower()


def places(figure):
    """Left, bottom, width and height of every axes, in shares of the figure: (axes, 4)."""
    return np.array([axis.get_position(original=True).bounds for axis in figure.axes])


@pytest.mark.parametrize("name", ["delta", "words"])
def test_files_do_not_hang_on_the_last_digits_of_the_layout(name, tmp_path, monkeypatch):
    """Its solver may add up in another order: once, two machines' pages were apart in a tenth decimal."""
    lay_out, rng, laid_out = ConstrainedLayoutEngine.execute, np.random.default_rng(0), []

    def lay_out_elsewhere(engine, figure):
        lay_out(engine, figure)
        for axis, place in zip(figure.axes, places(figure), strict=True):
            axis.set_position(place + rng.uniform(-1e-10, 1e-10, 4))
        laid_out.append(places(figure))

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lay_out_elsewhere)
    here, there = FIGURES[name](), FIGURES[name]()
    assert (laid_out[0] != laid_out[1]).all()
    saved, again = save_figure(here, tmp_path / "here", name), save_figure(there, tmp_path / "there", name)
    assert [path.read_bytes() for path in saved] == [path.read_bytes() for path in again]
    np.testing.assert_allclose(places(here), laid_out[0], rtol=0, atol=1e-7)  # and nothing moves visibly


def test_a_saved_picture_is_small_and_shows_what_was_drawn(tmp_path):
    figure = FIGURES["cost_curves"](about=load_config("smoke"))
    png, _ = save_figure(figure, tmp_path, "cost_curves")
    with plt.rc_context(style.STYLE):
        figure.savefig(tmp_path / "full.png")
    assert png.stat().st_size < 0.5 * (tmp_path / "full.png").stat().st_size
    saved, drawn = (plt.imread(path)[..., :3] for path in (png, tmp_path / "full.png"))
    np.testing.assert_allclose(saved, drawn, atol=8 / 255)


def texts_of(figure):
    """All that is written on a figure, outside its axes and beside them."""
    return [text.get_text() for owner in (figure, *figure.axes) for text in owner.texts]


def foot_of(figure):
    (foot,) = [text for text in figure.texts if text.get_gid() == "foot"]
    return foot


def colors_of(figure):
    """The colours of all lines and areas of a figure, without those of grids and frames."""
    lines = [line.get_color() for axis in figure.axes for line in axis.lines]
    areas = [tuple(color) for axis in figure.axes for area in axis.collections for color in area.get_facecolor()]
    return {to_hex(color) for color in lines + areas}


def test_colours_are_one_an_arm_and_a_behavior():
    assert len(set(ARM_COLORS.values())) == len(ARM_COLORS)
    assert set(BEHAVIOR_COLORS) == set(BEHAVIORS)
    assert len(set(BEHAVIOR_COLORS.values())) == len(BEHAVIORS)
    assert arm_color("random_direction") not in ARM_COLORS.values()
    assert arm_label("random_direction") == "random direction"
    assert arm_color("random_3") == arm_color("random")
    assert arm_label("random_3") == "random direction, draw 3"
    assert arm_color("random_tuned") == arm_color("random")
    assert arm_label("random_tuned") == "random direction, tuned"


@pytest.mark.parametrize("name", ["roc", "calibration", "auroc_by_position", "reward_training", "cost_curves", "speed"])
def test_token_and_history_have_the_colours_of_their_arms(name):
    colors = colors_of(FIGURES[name]())
    assert {to_hex(ARM_COLORS["lrs"]), to_hex(ARM_COLORS["lrs_history"])} <= colors
    assert not {to_hex(ARM_COLORS[arm]) for arm in ("lrs_basic", "few_shot", "cot")} & colors


def test_what_is_not_steered_is_black():
    assert PATH_COLORS["unsteered"] == ARM_COLORS["base"]
    assert to_hex(ARM_COLORS["base"]) in colors_of(FIGURES["accuracy_by_decoding"]())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stays_within_its_canvas_and_its_foot_tells_where_the_numbers_come_from(name):
    figure = FIGURES[name](about=load_config("full", "pocket-1m"))
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []  # nothing is left open to be shown a second time
    extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert width <= PAGE
    assert height <= 9.5
    assert min(extent.x0, extent.y0) >= -0.02
    assert extent.x1 <= width + 0.02
    assert extent.y1 <= height + 0.02
    foot = foot_of(figure)
    told = foot.get_text().replace("\n", " ")
    assert told == " · ".join(filter(None, ["pocket-1m · profile full · seed 0 · auto", figure.counted]))
    boxes = [axis.get_tightbbox() for axis in figure.axes if axis.get_visible()]
    assert foot.get_window_extent().y1 <= min(box.y0 for box in boxes)
    assert foot.get_window_extent().x1 <= figure.bbox.x1
    (label,) = [text for text in figure.findobj(Text) if text.get_text() == figure.get_supxlabel() != ""] or [None]
    if label:
        assert foot.get_window_extent().y1 <= label.get_window_extent().y0
        assert label.get_window_extent().y1 <= min(box.y0 for box in boxes)


def test_no_area_of_a_picture_moves_visibly_for_its_palette():
    """Thousands of colours, as many hues with soft edges have, and a large area of grey."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    pixels[:, 60:] = (226, 226, 226)
    found = np.asarray(style.in_palette(Image.fromarray(pixels)).convert("RGB")).astype(int)
    assert np.abs(found[:, 60:] - 226).max() <= 8


def test_the_foot_is_in_the_saved_file(tmp_path):
    with_foot, without = (FIGURES["roc"](about=about) for about in (load_config("cpu"), ""))
    pixels = plt.imread(save_figure(with_foot, tmp_path, "roc")[0])[..., 0]
    assert (pixels[-int(0.15 * 200) :] < 0.9).any()  # the last 0.15 inches
    assert foot_of(with_foot).get_text().startswith("pocket-3m · profile cpu · seed 0 · cpu · n 300 traces")
    assert foot_of(without).get_text().startswith("n 300 traces of 75 problems")


def test_the_foot_names_the_device_that_outcomes_come_from(tmp_path, monkeypatch):
    config = load_config("full", "pocket-1m")
    monkeypatch.chdir(tmp_path)
    describe_run(config, "NVIDIA H100 80GB HBM3", config.data / "outcomes")
    assert "seed 0 · NVIDIA H100 80GB HBM3 · n 300" in foot_of(FIGURES["roc"](about=as_run(config))).get_text()


@pytest.mark.parametrize("name", ["roc", "delta", "density", "behaviors_six"])
def test_figures_of_smoke_carry_a_mark_and_no_others_do(name, tmp_path):
    smoke, cpu = (FIGURES[name](about=load_config(profile)) for profile in ("smoke", "cpu"))
    assert SMOKE_MARK in texts_of(smoke)
    assert SMOKE_MARK not in texts_of(cpu)
    assert "profile smoke" in foot_of(smoke).get_text()
    (mark,) = [text for text in smoke.texts if text.get_text() == SMOKE_MARK]
    extent = mark.get_window_extent()
    assert 0.6 * smoke.bbox.width < extent.width < smoke.bbox.width
    assert extent.height < smoke.bbox.height


def test_cases_have_a_key_and_tell_where_marks_are_not_known():
    figure = FIGURES["cases"]()
    (legend,) = figure.legends
    key = [text.get_text() for text in legend.get_texts()]
    assert key == ["reward 0.00", "reward 0.50", "reward 1.00", "first token that differs", "came of a push"]
    shades = [patch.get_facecolor()[3] for patch in legend.get_patches()[:3]]
    words = {text.get_text(): text.get_bbox_patch() for text in figure.axes[0].texts if text.get_bbox_patch()}
    assert shades == sorted(shades)
    assert (shades[0], shades[-1]) == (words["e"].get_facecolor()[3], words["g"].get_facecolor()[3])
    titles = [text for text in texts_of(figure) if text.startswith("LRS, ")]
    assert titles == ["LRS, first repaired: sum 1 2", "LRS, first broken (steered tokens not marked): sum 3 4"]


def test_counts_are_those_of_the_table():
    assert count_range([500, 500], "problems") == "n 500 problems"
    assert count_range([30, 1500], "problems") == "n 30 to 1,500 problems"
    expected = {
        "delta_greedy": "greedy n 40 a benchmark, 80 pooled",
        "delta_six": "greedy n 40 a benchmark, 240 pooled · sampled n 10 a benchmark, 60 pooled, 2 samples each",
        "behaviors": "greedy n 40 a benchmark · sampled n 10 a benchmark",
        "behavior_rates": "n 120 traces of 80 problems",
        "roc": "n 300 traces of 75 problems",
        "calibration": "n 300 traces of 75 problems",
        "grid": "n 300 validation problems · small numbers: step size",
        "auroc_by_position": "n 80 problems",
        "reward_training": "n 30 held-out problems",
        "density": "n 6 latents",
        "speed": "measured on cpu · model pocket-3m, random-28m · n 384 problems a path · n 5 rounds",
    }
    assert {name: FIGURES[name]().counted for name in expected} == expected


def test_pooled_comes_first_and_prompting_has_a_scale_of_its_own_where_it_changes_far_more():
    table = main_table((0,), SIX).copy()
    ends = ["delta", "delta_low", "delta_high"]
    table[ends] /= 2
    told = table["arm"] == "cot"
    assert 0.2 < table.loc[~told, ends].abs().max(axis=None) < 0.3
    for asked, scales in (([-0.4, -0.45, -0.35], 1), ([-0.9, -0.95, -0.85], 2)):
        table.loc[told, ends] = asked
        assert len({axis.get_xlim() for axis in results.delta_figure(table).axes}) == scales
    axes = results.delta_figure(table).axes
    steering, prompting = axes[:7], axes[7:]
    assert [axis.get_title().replace("\n", "_") for axis in steering] == ["pooled", *SIX]
    assert len({axis.get_xlim() for axis in steering}) == len({axis.get_xlim() for axis in prompting}) == 1
    low, high = steering[0].get_ylim()
    assert low > high  # so the first arm is on top
    assert steering[0].get_xlim()[0] > -0.8
    assert prompting[0].get_xlim()[0] < -0.9
    assert {label.get_text() for label in prompting[0].get_yticklabels()} == {"CoT"}


def test_forest_plot_draws_each_difference_beside_its_arm_with_wins_and_losses():
    table = main_table((0, 1, 2), SIX)
    axes = results.delta_figure(table).axes
    row, pooled = (
        table.query("benchmark == @name and arm == 'lrs' and decoding == 'sampled'").iloc[0] for name in ("gcd", POOLED)
    )
    (gcd,) = [axis for axis in axes if axis.get_title() == "gcd"]
    lines = [line for line in gcd.lines if line.get_color() == ARM_COLORS["lrs"] and len(line.get_xdata()) == 1]
    (dot,) = [line for line in lines if line.get_xdata()[0] == row["delta"] and line.get_markerfacecolor() == "white"]
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    place = names.index("LRS")
    assert round(dot.get_ydata()[0]) == place
    said = [text.get_text() for text in axes[0].texts if text.xy[1] == place and "/" in text.get_text()]
    assert said[1] == f"{pooled['wins']:.0f}/{pooled['losses']:.0f}"
    assert [len(axis.lines) for axis in axes[7:]] == [1 + 2] * 7  # zero, and a dot a decoding


def test_a_table_without_prompting_has_one_row():
    table = main_table((0,))
    assert len(results.delta_figure(table[table["arm"] != "cot"]).axes) == len([POOLED, *TWO])


def test_calibration_counts_are_those_of_the_bins():
    scores = reward_scores()
    strip = reward.calibration_figure(scores).axes[1]
    areas = {to_hex(area.get_facecolor()[0]): area.get_paths()[0] for area in strip.collections}
    for variant, table in scores.items():
        outline = areas[to_hex(REWARD_COLORS[variant])]
        bins = calibration_bins(table["correct"], table["mean"])
        assert bins["n"].sum() == 300
        for place in bins.itertuples():
            assert outline.contains_point((place.predicted, place.n - 0.5))
            assert not outline.contains_point((place.predicted, place.n + 0.5))


def test_roc_points_are_the_rates_at_every_threshold():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, 12, 60) / 12  # with ties
    false_positive, true_positive = reward.roc_points(labels, scores)
    for threshold, *rates in zip([2.0, *np.unique(scores)[::-1]], false_positive, true_positive, strict=True):
        taken = scores >= threshold
        assert rates == pytest.approx([taken[labels == 0].mean(), taken[labels == 1].mean()])
    assert np.trapezoid(true_positive, false_positive) == pytest.approx(auroc(labels, scores))


def legend_numbers(figure):
    """AUROC and its interval, by variant, as the legend of the ROC tells them."""
    lines = [text.get_text().split(maxsplit=1) for text in figure.axes[0].get_legend().get_texts()]
    return {
        name: [float(number) for number in numbers.replace(",", "").strip().replace("[", "").rstrip("]").split()]
        for name, numbers in lines
    }


def test_roc_interval_is_bootstrapped_over_problems_not_traces():
    scores = reward_scores()
    thrice = {name: pd.concat([table] * 3, ignore_index=True) for name, table in scores.items()}
    for name, (area, low, high) in legend_numbers(reward.roc_figure(scores)).items():
        assert area == pytest.approx(auroc(scores[name]["correct"], scores[name]["mean"]), abs=0.005)
        assert 0.01 < area - low < 0.1
        assert 0.01 < high - area < 0.1
        assert legend_numbers(reward.roc_figure(thrice))[name] == [area, low, high]


def test_roc_needs_both_classes():
    with pytest.raises(ValueError, match="both classes"):
        reward.roc_figure({"token": reward_scores()["token"].assign(correct=True)})


def test_training_rings_the_best_epoch_of_each_variant_once():
    history = pd.concat([part.set_index("epoch", drop=False) for _, part in reward_history().groupby("variant")])
    for axis in reward.reward_training_figure(history).axes:
        (rings,) = axis.collections
        assert rings.get_offsets()[:, 0].tolist() == [3, 3]


def test_cost_curves_are_ratios_to_unsteered():
    axis = FIGURES["cost_curves"]().axes[0]
    heights = {}
    for line in axis.lines:
        heights.setdefault(line.get_color(), []).extend(line.get_ydata())
    for path, ratio in (("unsteered", 1), ("lrs_token", 1.5), ("lrs_history", 2)):
        np.testing.assert_allclose(heights[PATH_COLORS[path]], ratio)
    spans = [segment[:, 1] for area in axis.collections for segment in area.get_segments()]
    np.testing.assert_allclose(sorted(map(tuple, spans))[-1], [1.8, 2.2])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1\n11", "8\n13", "128\n21"]


def test_the_grid_shows_the_rule_of_the_choice():
    (axis,) = select.grid_figure(grid_frame(gated=False), 0.07).axes
    (beyond,) = axis.patches
    assert beyond.get_x() == 0.07
    assert beyond.get_x() + beyond.get_width() > axis.get_xlim()[1] > 0.1
    (ring,) = [line for line in axis.lines if line.get_markersize() == 10]
    assert (ring.get_xdata().item(), ring.get_ydata().item()) == (0.05, 0.0)
    assert [text.get_text() for text in axis.texts] == ["0.5", "1", "2"]


def test_each_file_is_drawn_once(tmp_path, monkeypatch):
    figure, draw, drawn = FIGURES["density"](), Figure.draw, tmp_path / "drawn"

    def counted(*given):
        with drawn.open("a") as file:  # not in memory: one of the two is drawn by another process
            file.write(".")
        draw(*given)

    monkeypatch.setattr(Figure, "draw", counted)
    save_figure(figure, tmp_path, "density")
    assert drawn.read_text() == ".."


def test_a_pdf_that_cannot_be_written_is_told_where_the_figure_is_saved(tmp_path):
    (tmp_path / "density.pdf").mkdir()
    with pytest.raises((RuntimeError, IsADirectoryError), match=r"Is a directory.*density\.pdf"):
        save_figure(FIGURES["density"](), tmp_path, "density")


def test_show_saves_and_displays(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(style, "display", shown.append)
    figure = FIGURES["density"]()
    show(figure, tmp_path / "pocket-3m", "density")
    assert [picture.data for picture in shown] == [(tmp_path / "pocket-3m" / "density.png").read_bytes()]
    assert sorted(path.name for path in (tmp_path / "pocket-3m").iterdir()) == ["density.pdf", "density.png"]


def test_a_figure_leaves_the_notebooks_settings_alone():
    before = dict(plt.rcParams)
    FIGURES["density"]()
    assert dict(plt.rcParams) == before


TRACE = "<think> goal 5 from 2 3 : 2 + 3 = 5 yes . check 2 + 3 = 5 ok . </think> answer 2 + 3"


def test_trace_html_colours_the_behaviors_a_clause_a_line():
    body = traces.trace_html(TRACE).split("</p>\n", 1)[1]
    lines = body.replace("\n</div>", "").split("<br>\n")
    assert len(lines) == 6
    assert lines[0] == "&lt;think&gt;"
    assert lines[1].startswith(f'<span style="background:{BEHAVIOR_COLORS["subgoal_setting"]}')
    assert lines[1].endswith(">goal 5 from 2 3 :</span>")
    assert lines[2] == "2 + 3 = 5 yes ."
    assert lines[3].endswith(">check 2 + 3 = 5 ok .</span>")
    assert lines[4:] == ["&lt;/think&gt;", "answer 2 + 3"]


def test_trace_html_escapes_and_takes_any_text():
    assert "<script>" not in traces.trace_html("<script>alert(1)</script>")
    assert traces.trace_html("").startswith("<div")
    assert "check 1 &lt; 2</span>" in traces.trace_html("check 1 < 2")  # truncated within a clause


@pytest.mark.parametrize("name", [name for name in FIGURES if name.endswith("_many")])
def test_names_of_many_arms_do_not_stick_out_of_the_page_as_it_is_saved(name):
    figure = FIGURES[name](about="toy")
    figure.set_dpi(style.STYLE["savefig.dpi"])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [axis.get_tightbbox(renderer) for axis in figure.axes if axis.get_visible()]
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
