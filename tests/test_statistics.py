"""Statistics against naive loops written from the definitions, and against values computed elsewhere."""

from math import comb
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, norm

from lrs.core.statistics import (
    auroc,
    bootstrap_interval,
    calibration_bins,
    effective_sample_size,
    expected_calibration_error,
    fisher_p,
    holm,
    mcnemar_exact,
    minimum_detectable_effect,
    shares_by,
    wilson_interval,
    within_group_auroc,
)

pytestmark = pytest.mark.filterwarnings("error")
COUNTS = st.integers(0, 60)
P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=12)


@given(COUNTS, COUNTS, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_is_the_formula_and_holds_the_share(successes, failures, level):
    n = successes + failures
    if n == 0:
        return
    low, high = wilson_interval(successes, n, level)
    z, share = norm.ppf((1 + level) / 2), successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose((low, high), (middle - half, middle + half), atol=1e-12)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


def test_wilson_agrees_with_scipy_and_takes_arrays():
    expected = binomtest(8, 30).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(np.array([8, 8]), np.array([30, 30]))
    np.testing.assert_allclose(low, expected.low)
    np.testing.assert_allclose(high, expected.high)


@given(st.integers(1, 25), st.integers(1, 25), st.data())
def test_fisher_sums_every_split_of_the_successes_that_is_no_likelier(n, other_n, data):
    right, other = data.draw(st.integers(0, n)), data.draw(st.integers(0, other_n))
    all_right = right + other
    ways = {
        k: comb(n, k) * comb(other_n, all_right - k) for k in range(min(n, all_right) + 1) if all_right - k <= other_n
    }
    expected = sum(count for count in ways.values() if count <= ways[right]) / comb(n + other_n, all_right)
    assert fisher_p(right, other, n, other_n) == pytest.approx(expected, abs=1e-9)
    assert fisher_p(right + 0.2, other - 0.2, n, other_n) == fisher_p(right, other, n, other_n)  # a mean over seeds


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="Wilson"):
        wilson_interval(successes, n)


def test_shares_count_each_problem_once():
    frame = pd.DataFrame({"problem_id": list("aabb"), "arm": "x", "shown": [True, True, True, False]})
    row = shares_by(frame, ["arm"], "shown").iloc[0]
    assert (row["share"], row["n"]) == (0.75, 2)
    np.testing.assert_allclose((row["low"], row["high"]), wilson_interval(1.5, 2))


@given(COUNTS, COUNTS)
def test_mcnemar_is_the_two_sided_binomial_sum(wins, losses):
    n, extreme = wins + losses, max(wins, losses)
    tail = sum(comb(n, k) for k in range(extreme, n + 1)) / 2**n
    assert mcnemar_exact(wins, losses) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar_exact(wins, losses) == mcnemar_exact(losses, wins)


def test_mcnemar_of_the_papers_aime_cell_cannot_reach_significance():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(3, 0) == pytest.approx(0.25)  # 5/30 -> 8/30 at its most favourable


def test_bootstrap_of_identical_arms_is_zero():
    assert bootstrap_interval(np.zeros(50), 0.95, 500, seed=0) == (0.0, 0.0)


def test_bootstrap_agrees_with_scipys():
    delta = np.random.default_rng(1).choice([-1.0, 0.0, 1 / 3, 1.0], size=400, p=[0.1, 0.6, 0.1, 0.2])
    expected = bootstrap((delta,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    found = bootstrap_interval(delta, 0.95, 20_000, seed=0)
    np.testing.assert_allclose(found, (expected.low, expected.high), atol=0.004)


def test_bootstrap_is_reproducible_whatever_the_order():
    delta = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=100)
    assert bootstrap_interval(delta, 0.9, 500, seed=3) == bootstrap_interval(delta[::-1], 0.9, 500, seed=3)


def test_stratified_bootstrap_removes_the_spread_between_strata():
    delta, strata = np.repeat([1.0, -1.0], 50), np.repeat(["easy", "hard"], 50)
    assert bootstrap_interval(delta, 0.95, 500, seed=0, strata=strata) == (0.0, 0.0)
    low, high = bootstrap_interval(delta, 0.95, 500, seed=0)
    assert low < -0.1
    assert high > 0.1


def test_bootstrap_needs_problems():
    with pytest.raises(ValueError, match="at least one problem"):
        bootstrap_interval(np.array([]), 0.95, 10, seed=0)


def naive_holm(p_values):
    """Holm's step-down procedure, one p-value after the other."""
    present = sorted((p, i) for i, p in enumerate(p_values) if not np.isnan(p))
    adjusted, largest = [float("nan")] * len(p_values), 0.0
    for rank, (p, index) in enumerate(present):
        largest = max(largest, min(1.0, (len(present) - rank) * p))
        adjusted[index] = largest
    return adjusted


@given(P_VALUES)
def test_holm_is_the_step_down_procedure(p_values):
    with mock.patch("gc.collect"):  # statsmodels collects garbage at every call: slow a hundred times over
        adjusted = holm(np.array(p_values))
    np.testing.assert_allclose(adjusted, naive_holm(p_values))
    present = ~np.isnan(adjusted)
    raw = np.array(p_values, dtype=float)[present]
    assert np.all(adjusted[present] >= raw)
    assert np.all(np.diff(adjusted[present][np.argsort(raw)]) >= 0)


@pytest.mark.parametrize(("n", "effect"), [(500, 0.056), (1750, 0.030)])
def test_minimum_detectable_effect_of_the_protocol(n, effect):
    assert minimum_detectable_effect(n, 0.20, 0.95) == pytest.approx(effect, abs=2e-4)


def test_minimum_detectable_effect_is_found_in_four_of_five_simulated_studies():
    n, discordant, effect = 1000, 0.2, minimum_detectable_effect(1000, 0.2, 0.95)
    rng = np.random.default_rng(0)
    wins, losses, _ = rng.multinomial(n, [(discordant + effect) / 2, (discordant - effect) / 2, 0.8], 2000).T
    z = np.abs(wins - losses) / np.sqrt(wins + losses)
    assert np.mean(z > norm.ppf(0.975)) == pytest.approx(0.8, abs=0.03)
    assert np.isnan(minimum_detectable_effect(100, 0.0, 0.95))


def naive_pairs(labels, scores):
    """Concordant pairs (ties half) and all pairs of a positive and a negative."""
    pairs = [
        (p, q) for p, a in zip(scores, labels, strict=True) if a for q, b in zip(scores, labels, strict=True) if not b
    ]
    return sum((p > q) + 0.5 * (p == q) for p, q in pairs), len(pairs)


ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from("abc")), min_size=2, max_size=30)


@given(ROWS)
@settings(max_examples=60)
def test_auroc_is_the_share_of_concordant_pairs(rows):
    labels, scores, _ = map(np.array, zip(*rows, strict=True))
    concordant, pairs = naive_pairs(labels, scores)
    if pairs == 0:
        with pytest.raises(ValueError, match="both classes"):
            auroc(labels, scores)
    else:
        assert auroc(labels, scores) == pytest.approx(concordant / pairs)


@given(ROWS)
@settings(max_examples=60)
def test_within_group_auroc_pools_the_pairs_of_each_group(rows):
    labels, scores, groups = map(np.array, zip(*rows, strict=True))
    counts = [naive_pairs(labels[groups == group], scores[groups == group]) for group in np.unique(groups)]
    concordant, pairs = np.sum(counts, axis=0)
    if pairs == 0:
        with pytest.raises(ValueError, match="both classes"):
            within_group_auroc(labels, scores, groups)
    else:
        assert within_group_auroc(labels, scores, groups) == pytest.approx(concordant / pairs)


def test_within_group_auroc_ignores_differences_between_problems():
    labels, groups = np.array([1, 1, 1, 0, 0, 0, 1, 0]), np.array(list("aaaabbbb"))
    scores = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1])  # knows the problem, not the trace
    assert auroc(labels, scores) == 0.75
    assert within_group_auroc(labels, scores, groups) == 0.5


def test_calibration_bins_by_hand():
    table = calibration_bins(np.array([0, 1, 1, 1]), np.array([0.05, 0.05, 0.95, 1.0]))
    assert table["n"].tolist() == [2, 2]
    np.testing.assert_allclose(table["predicted"], [0.05, 0.975])
    np.testing.assert_allclose(table["observed"], [0.5, 1.0])
    assert (table["low"] <= table["observed"]).all()
    assert (table["observed"] <= table["high"]).all()
    error = expected_calibration_error(np.array([0, 1, 1, 1]), np.array([0.05, 0.05, 0.95, 1.0]))
    assert error == pytest.approx((0.45 + 0.025) / 2)


def test_a_calibrated_predictor_has_little_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    assert expected_calibration_error(rng.random(p.size) < p, p) < 0.01
    assert expected_calibration_error(rng.random(p.size) < p**2, p) > 0.1


@pytest.mark.parametrize("n", [1, 12, 100, 500, 600, 1000, 2000])
def test_wilson_reaches_the_ends_exactly(n):
    assert wilson_interval(0, n)[0] == 0.0
    assert wilson_interval(n, n)[1] == 1.0


def test_effective_sample_size_of_coins_clusters_and_constants():
    rng = np.random.default_rng(0)
    one = np.zeros(4000, dtype=int)
    coins = rng.integers(0, 2, (4000, 4)).mean(axis=1)
    assert effective_sample_size(coins, 16_000, one) == pytest.approx(16_000, rel=0.05)
    clusters = rng.integers(0, 2, 4000).astype(float)  # all four draws of a problem alike
    assert effective_sample_size(clusters, 16_000, one) == pytest.approx(4000, rel=0.01)
    assert effective_sample_size(np.full(4000, 0.5), 16_000, one) == 4000
    certain = np.repeat([0.0, 1.0], 2000)  # two strata that do not vary within themselves
    assert effective_sample_size(certain, 16_000, np.repeat([0, 1], 2000)) == 4000
