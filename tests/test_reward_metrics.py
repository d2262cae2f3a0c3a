import numpy as np
import pandas as pd
import pytest

from lrs.learning.reward_metrics import auroc_by_position, summarise, trace_scores

TRACES = [  # problem, seed, correct, probabilities of its tokens
    ("a", 0, True, [0.2, 0.4, 0.9]),
    ("a", 1, False, [0.8, 0.3]),
    ("b", 0, True, [0.7]),
    ("b", 1, True, [0.3, 0.5]),
    ("c", 0, False, [0.1, 0.1, 0.1, 0.4]),
]


def table_of(traces):
    rows = [
        {"problem_id": p, "seed": s, "position": i, "length": len(values), "correct": c, "probability": v}
        for p, s, c, values in traces
        for i, v in enumerate(values)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)  # order must not matter


def naive_auroc(pairs):
    """Share of (right, wrong) pairs in which the right one scores higher; ties count half."""
    right, wrong = ([score for correct, score in pairs if correct is kind] for kind in (True, False))
    return np.mean([(r > w) + 0.5 * (r == w) for r in right for w in wrong])


def test_trace_scores():
    scores = trace_scores(table_of(TRACES)).set_index(["problem_id", "seed"])
    assert len(scores) == len(TRACES)
    for problem, seed, correct, values in TRACES:
        row = scores.loc[(problem, seed)]
        assert row["correct"] == correct
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["last"] == values[-1]


def test_summarise():
    summary = summarise("token", table_of(TRACES))
    tokens = [(correct, value) for _, _, correct, values in TRACES for value in values]
    assert (summary["variant"], summary["traces"], summary["tokens"]) == ("token", 5, 12)
    assert summary["auroc_tokens"] == pytest.approx(naive_auroc(tokens))
    assert summary["auroc_traces"] == pytest.approx(naive_auroc([(c, np.mean(v)) for _, _, c, v in TRACES]))
    assert summary["auroc_last_token"] == pytest.approx(naive_auroc([(c, v[-1]) for _, _, c, v in TRACES]))
    assert summary["auroc_within_problems"] == 0.0  # a: 0.5 of the right one, 0.55 of the wrong one; no other pair
    bins = {}
    for correct, value in tokens:
        bins.setdefault(int(value * 10), []).append((correct, value))
    error = sum(abs(sum(c for c, _ in rows) - sum(v for _, v in rows)) for rows in bins.values()) / len(tokens)
    assert summary["calibration_error"] == pytest.approx(error)


def test_auroc_by_position_rises_where_the_reward_gets_to_know():
    """Noise in the first half of a trace, and the truth in the second."""
    rng = np.random.default_rng(0)
    traces = []
    for problem in range(30):
        for seed, correct in enumerate([True, False]):
            length = int(rng.integers(4, 20))
            values = [0.5 + 0.2 * (correct - 0.5) * (2 * (i + 0.5) >= length) for i in range(length)]
            traces.append((f"p{problem}", seed, correct, values))
    table = auroc_by_position("history", table_of(traces), bins=2, resamples=50)
    assert list(table.columns) == ["variant", "position", "n", "auroc", "low", "high"]
    assert table["variant"].tolist() == ["history"] * 2
    assert table["position"].tolist() == [0.25, 0.75]
    assert table["auroc"].tolist() == [0.5, 1.0]
    assert table[["low", "high"]].to_numpy().tolist() == [[0.5, 0.5], [1.0, 1.0]]


def test_intervals_by_position_hold_the_estimate_and_resample_whole_problems():
    rng = np.random.default_rng(1)
    traces = [
        (f"p{problem}", seed, bool(seed), list(np.clip(rng.normal(0.5 + 0.1 * seed, 0.2, size=10), 0, 1)))
        for problem in range(20)
        for seed in range(2)
    ]
    table = auroc_by_position("token", table_of(traces), bins=2, resamples=40)
    assert (table["low"] < table["auroc"]).all()
    assert (table["auroc"] < table["high"]).all()
    assert table.equals(auroc_by_position("token", table_of(traces), bins=2, resamples=40))
    copies = [(f"{problem}", seed + 2 * copy, *rest) for copy in range(8) for problem, seed, *rest in traces]
    cluster = auroc_by_position("token", table_of(copies), bins=2, resamples=40)
    width, wide = ((frame["high"] - frame["low"]).mean() for frame in (table, cluster))
    assert wide == pytest.approx(width, rel=0.3)  # eight copies of a problem tell nothing new
