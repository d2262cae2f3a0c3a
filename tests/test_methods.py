"""What accuracy costs in seconds, by hand."""

import pandas as pd
import pytest

from lrs.config import load_config
from lrs.report.methods import METHODS_COLUMNS, methods_table


def test_seconds_are_tokens_over_the_speed_of_the_path_that_writes_them():
    methods = ["one", "vote", "base, greedy", "lrs, sampled"]
    methods += ["lrs_history, greedy", "lrs_causal, greedy", "free_push, greedy", "free_constant, greedy"]
    rivals = pd.DataFrame({"method": methods, "p_mcnemar": [1.0, 0.01, 0.2, 0.03, 0.5, 0.04, 0.04, 0.5]})
    rivals = rivals.assign(tokens=120.0, attempts=1, n=800, accuracy=0.5, low=0.4, high=0.6)
    rivals = rivals.assign(delta=0.0, delta_low=0.0, delta_high=0.0, wins=1, losses=1, device="one card")
    speeds = [("pocket", "unsteered", 1200.0), ("pocket", "lrs_token", 600.0), ("pocket", "lrs_history", 400.0)]
    speeds += [("pocket", "lrs_token_all_rows", 300.0), ("pocket", "lrs_slope", 800.0)]
    costs = pd.DataFrame([*speeds, ("other", "unsteered", 1.0)], columns=["model", "path", "tokens_per_s"])
    config = load_config("cpu").model_copy(update={"seed": 3})
    table = methods_table(rivals, costs.assign(device="cpu"), config, "pocket")
    assert list(table.columns) == METHODS_COLUMNS
    assert table["seconds"].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.2, 0.3, 0.4, 0.15, float("nan")], nan_ok=True)
    assert table["p_holm"].tolist() == pytest.approx([float("nan"), 0.07, 0.6, 0.18, 1.0, 0.2, 0.2, 1.0], nan_ok=True)
    named = ["profile", "device", "backbone", "speed_device", "seed"]
    assert (table[named] == ["cpu", "one card", "pocket", "cpu", 3]).all(axis=None)
    groups = ["baseline", "rival", "baseline", "method", "method", "method", "control", "control"]
    assert table["arm_group"].tolist() == groups
    assert table["decoding"].tolist() == ["sampled", "sampled", "greedy", "sampled", *["greedy"] * 4]
    assert table["mde"].tolist() == pytest.approx([2.8016 * (2 / 800 / 800) ** 0.5] * 8, rel=1e-4)
