"""Every figure draws from synthetic data, inside its canvas, and saves to the same bytes each time."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrs.config import StatisticsSection
from lrs.core.statistics import calibration_bins
from lrs.figures import bench as efficiency
from lrs.figures import reasoner, results, reward, sae, select, traces
from lrs.figures.style import ARM_COLORS, BEHAVIOR_COLORS, arm_color, arm_label, save_figure
from lrs.report.comparison import behavior_shares, compare_arms
from lrs.report.paper import read_paper_table
from lrs.tasks.behaviors import BEHAVIORS

pytestmark = pytest.mark.filterwarnings("error")


TWO = ("countdown", "chain_sum")
SIX = (*TWO, "gcd", "basic_arithmetic", "prime_factorization", "number_sorting")


def outcomes_frame(seeds, arms=("base", "lrs_basic", "lrs", "random"), problems=40, benchmarks=TWO):
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


def main_table(seeds, benchmarks=TWO):
    return compare_arms(
        outcomes_frame(seeds, benchmarks=benchmarks), StatisticsSection(confidence_level=0.95, bootstrap_resamples=100)
    )


def reward_curves():
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.6
    return [
        (name, labels, 1 / (1 + np.exp(rng.normal(size=300) - k * labels)))
        for name, k in (("token", 1), ("history", 2))
    ]


def reward_bins():
    return {name: calibration_bins(labels, scores) for name, labels, scores in reward_curves()}


def positions_frame():
    rows = [
        (variant, place, 0.6 + place * gain)
        for variant, gain in (("token", 0.1), ("history", 0.3))
        for place in (0.25, 0.75)
    ]
    frame = pd.DataFrame(rows, columns=["variant", "position", "auroc"])
    return frame.assign(low=frame["auroc"] - 0.05, high=frame["auroc"] + 0.05)


def reward_history():
    rows = [
        (variant, epoch, 0.7 - 0.05 * epoch, 0.6 + 0.01 * epoch)
        for variant in ("token", "history")
        for epoch in range(4)
    ]
    return pd.DataFrame(rows, columns=["variant", "epoch", "train_loss", "auroc"])


def grid_frame(gated=True):
    quantiles = {"lrs_basic": [np.nan], "lrs": [0.25, 0.5]} if gated else {"lrs_basic": [None]}
    rows = [(arm, size, q) for arm, values in quantiles.items() for size in (0.5, 1.0, 2.0) for q in values]
    frame = pd.DataFrame(rows, columns=["arm", "step_size", "reward_quantile"])
    frame["delta"] = np.linspace(-0.02, 0.02, len(frame))
    return frame.assign(
        num_steps=1, delta_low=frame["delta"] - 0.01, delta_high=frame["delta"] + 0.01, chosen=frame["step_size"] == 1.0
    )


def sae_history():
    step = np.arange(0, 500, 100)
    return pd.DataFrame({"step": step, "reconstruction_loss": 1 / (1 + step), "dead_fraction": step / 5000})


def efficiency_frame():
    paths = ("hf_generate", "unsteered", "lrs_token", "lrs_history", "naive", "naive_history")
    rows = [(name, path) for name in ("pocket-3m, batch 128", "random-28m, batch 128") for path in paths]
    frame = pd.DataFrame(rows, columns=["workload", "path"])
    frame["ratio_to_unsteered"] = np.tile([0.1, 1, 0.9, 0.7, 0.05, 0.03], 2)
    low, high = 0.9 * frame["ratio_to_unsteered"], 1.1 * frame["ratio_to_unsteered"]
    return frame.assign(
        batch=128,
        tokens_per_s=3000 * frame["ratio_to_unsteered"],
        ratio_to_unsteered_low=low,
        ratio_to_unsteered_high=high,
    )


def cost_frame():
    grid = {"batch": (1, 8, 128), "length": (32, 256), "num_steps": (1, 8), "d_sae": (32, 2048), "width": (32, 256)}
    points = [(quantity, value) for quantity, values in grid.items() for value in values]
    rows = [(*point, path, 10 + value**0.5) for *point, value in ((*p, p[1]) for p in points) for path in PATHS]
    frame = pd.DataFrame(rows, columns=["quantity", "value", "path", "milliseconds"])
    return frame.assign(low=0.9 * frame["milliseconds"], high=1.1 * frame["milliseconds"])


def learning_curve():
    rng = np.random.default_rng(0)
    rows = [(step, benchmark) for step in range(25) for benchmark in SIX[:5]]
    shares = {name: rng.uniform(0.3, 0.6, len(rows)) for name in ("correct", *BEHAVIORS)}
    return pd.DataFrame(rows, columns=["step", "benchmark"]).assign(**shares)


PATHS = ("unsteered", "lrs_token", "lrs_history")
FIGURES = {
    "loss": lambda: reasoner.loss_figure(pd.DataFrame({"tokens": range(1, 90), "loss": np.geomspace(5, 0.1, 89)})),
    "learning_six": lambda: reasoner.learning_figure(learning_curve()),
    "speed": lambda: efficiency.speed_figure(efficiency_frame()),
    "cost_curves": lambda: efficiency.cost_curves_figure(cost_frame()),
    "behavior_rates": lambda: traces.behavior_rates(outcomes_frame((0, 1, 2), arms=("base",))),
    "behavior_rates_greedy": lambda: traces.behavior_rates(outcomes_frame((0,), arms=("base",))),
    "length": lambda: traces.length_figure(outcomes_frame((0, 1), arms=("base",)), max_new_tokens=256),
    "accuracy_by_decoding": lambda: traces.accuracy_by_decoding(outcomes_frame((0, 1), arms=("base",))),
    "sae_training": lambda: sae.training_figure(sae_history()),
    "sae_training_variance": lambda: sae.training_figure(sae_history().assign(explained_variance=0.8)),
    "density": lambda: sae.density_figure(np.array([0.0, 0.0, 0.001, 0.02, 0.5, 1.0])),
    "density_all_dead": lambda: sae.density_figure(np.zeros(4)),
    "roc": lambda: reward.roc_figure(reward_curves()),
    "calibration": lambda: reward.calibration_figure(reward_bins()),
    "auroc_by_position": lambda: reward.auroc_by_position_figure(positions_frame()),
    "reward_training": lambda: reward.training_figure(reward_history()),
    "grid": lambda: select.grid_figure(grid_frame()),
    "grid_ungated": lambda: select.grid_figure(grid_frame(gated=False)),
    "accuracy": lambda: results.accuracy_figure(main_table((0, 1))),
    "accuracy_greedy": lambda: results.accuracy_figure(main_table((0,))),
    "delta": lambda: results.delta_figure(main_table((0, 1))),
    "delta_greedy": lambda: results.delta_figure(main_table((0,))),
    "behaviors": lambda: results.behaviors_figure(behavior_shares(outcomes_frame((0, 1)), 0.95)),
    "behaviors_greedy": lambda: results.behaviors_figure(behavior_shares(outcomes_frame((0,)), 0.95)),
    "accuracy_six": lambda: results.accuracy_figure(main_table((0, 1, 2), SIX)),
    "delta_six": lambda: results.delta_figure(main_table((0, 1, 2), SIX)),
    "behaviors_six": lambda: results.behaviors_figure(behavior_shares(outcomes_frame((0, 1, 2), benchmarks=SIX), 0.95)),
    "behavior_rates_six": lambda: traces.behavior_rates(outcomes_frame((0, 1), ("base",), benchmarks=SIX)),
    "behavior_rates_four": lambda: traces.behavior_rates(outcomes_frame((0, 1), ("base",), benchmarks=SIX[:4])),
    "length_six": lambda: traces.length_figure(outcomes_frame((0, 1), ("base",), benchmarks=SIX), 256),
    "paper": lambda: results.paper_figure(read_paper_table()),
}


@pytest.mark.parametrize("name", [name for name in FIGURES if name.endswith(("_six", "_four", "accuracy"))])
def test_panels_do_not_run_into_one_another(name):
    figure = FIGURES[name]()
    boxes = [axis.get_tightbbox() for axis in figure.axes if axis.get_visible()]
    overlaps = [
        (a.extents, b.extents) for i, a in enumerate(boxes) for b in boxes[:i] if a.shrunk(0.98, 0.98).overlaps(b)
    ]
    assert overlaps == []


def picture(figure):
    """The figure as it appears in a notebook, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


@pytest.mark.parametrize("name", FIGURES)
def test_figure_draws_within_its_canvas_and_the_same_each_time(name):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []  # nothing is left open to be shown a second time
    extent = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert width <= 7.0
    assert extent.x0 >= -0.02
    assert extent.y0 >= -0.02
    assert extent.x1 <= width + 0.02
    assert extent.y1 <= height + 0.02
    np.testing.assert_array_equal(picture(figure), picture(FIGURES[name]()))


@pytest.mark.parametrize("name", ["sae_training", "delta"])
def test_files_are_byte_identical_saved_again_and_drawn_anew(name, tmp_path):
    figure = FIGURES[name]()
    first, again = (save_figure(figure, tmp_path / folder, name) for folder in ("first", "again"))
    anew = save_figure(FIGURES[name](), tmp_path / "anew", name)
    assert [path.suffix for path in first] == [".png", ".pdf"]
    for one, two, three in zip(first, again, anew, strict=True):
        assert one.read_bytes() == two.read_bytes() == three.read_bytes()
    assert b"matplotlib" not in first[0].read_bytes().lower()


def test_titles_tell_how_many_problems_were_decoded_greedily_and_sampled():
    mixed, greedy = FIGURES["accuracy_six"](), FIGURES["accuracy_greedy"]()
    assert {axis.get_title() for axis in mixed.axes} > {"countdown (n 40/10)", "pooled (n 240/60)"}
    assert {axis.get_title() for axis in greedy.axes} > {"countdown (n 40)"}


def test_colours_are_one_an_arm_and_a_behavior():
    assert len(set(ARM_COLORS.values())) == len(ARM_COLORS)
    assert set(BEHAVIOR_COLORS) == set(BEHAVIORS)
    assert len(set(BEHAVIOR_COLORS.values())) == len(BEHAVIORS)
    assert arm_color("random_direction") not in ARM_COLORS.values()
    assert arm_label("random_direction") == "random direction"


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
