"""Sentences say what the tables hold, whichever way the result falls."""

import numpy as np
import pandas as pd
import pytest

from lrs.config import StatisticsSection
from lrs.report.comparison import compare_arms
from lrs.report.sentences import (
    causal_sentence,
    corrected_sentence,
    level_text,
    percent,
    points,
    reward_sentence,
    sae_sentence,
    selection_sentence,
    speed_sentence,
    traces_sentence,
)


@pytest.mark.parametrize(
    ("difference", "text"), [(0.0123, "+1.2"), (-0.0123, "-1.2"), (0.0, "+0.0"), (-0.0004, "+0.0"), (1, "+100.0")]
)
def test_points_have_a_sign_and_are_never_minus_nothing(difference: float, text: str):
    assert points(difference) == text


def test_percent_has_one_decimal():
    assert percent(2 / 3) == "66.7%"


@pytest.mark.parametrize(("level", "text"), [(0.95, "95%"), (0.9, "90%"), (0.975, "97.5%"), (0.57, "57%")])
def test_a_level_is_told_as_it_is(level: float, text: str):
    assert level_text(level) == text


def test_traces_sentence_counts_the_problems_with_both_kinds_of_trace():
    traces = pd.DataFrame(
        {
            "problem_id": ["a", "a", "b", "b", "c", "c"],
            "decoding": 3 * ["greedy", "sampled"],
            "correct": [True, True, True, False, False, False],
        }
    )
    sentence = traces_sentence(traces)
    assert "Of 6 traces 50.0% are right (66.7% of the greedy ones and 33.3% of the sampled ones)" in sentence
    assert "1 of 3 problems have right and wrong traces" in sentence


def test_sae_sentence_counts_active_and_dead_latents():
    sentence = sae_sentence({"seen": 0.9, "held out": 0.85}, np.array([1.0, 0.5, 0.0, 0.0]))
    assert "With 1.5 of 4 latents active" in sentence
    assert "90.0% of the variance where it learned and 85.0%" in sentence
    assert "2 of its latents never fire" in sentence


def test_reward_sentence_takes_start_and_end_of_a_trace_by_position():
    quality = pd.DataFrame([{"variant": "token", "auroc_traces": 0.8, "auroc_within_problems": 0.6}])
    positions = pd.DataFrame({"variant": "token", "position": [0.95, 0.05], "auroc": [0.9, 0.55]})
    sentence = reward_sentence(quality, positions)
    assert "AUROC of 0.80 (0.60 among those of one problem)" in sentence
    assert "0.55 at the start of a trace and 0.90 at its end" in sentence


def test_causal_sentence_compares_the_first_iterations_with_the_last():
    curves = pd.DataFrame(
        {
            "reward": ["causal"] * 12,
            "step": [step for step in range(6) for _ in range(2)],
            "benchmark": ["a", "b"] * 6,
            "correct": [0.0, 0.2] * 2 + [0.4, 0.6] * 4,
        }
    )
    quality = pd.DataFrame({"variant": ["token", "causal"], "auroc_within_problems": [0.8, 0.7]})
    assert causal_sentence(curves, quality) == (
        "With `causal` 34.0% of the attempts were right in the first 5 iterations and 42.0% in the last, and it tells "
        "right from wrong traces of one problem with an AUROC of 0.70 (`token`: 0.80)."
    )


def test_selection_sentence_tells_what_was_chosen_and_nothing_else():
    table = pd.DataFrame(
        {
            "arm": ["lrs", "lrs"],
            "decoding": ["greedy", "sampled"],
            "num_steps": [1, 2],
            "step_size": [0.5, 2.0],
            "steered_fraction": [0.366, 0.4],
            "push_ratio": [0.045, 0.2],
            "dose": [0.0123, 0.5],
            "delta": [-0.003, 0.1],
            "chosen": [True, False],
        }
    )
    assert selection_sentence(table) == (
        "Chosen from 2 candidates, by validation alone: `lrs`, greedy (K 1, alpha 0.5), pushes 36.6% of the tokens by "
        "4.5% of their norm, a dose of 0.012 nats a token, for -0.3 points."
    )


def test_selection_sentence_of_nothing():
    table = pd.DataFrame(columns=["arm", "chosen"])
    assert selection_sentence(table) == "The profile names no steered arm: there was nothing to choose."


def results(won: int, lost: int, decoding: str = "greedy", problems: int = 100) -> pd.DataFrame:
    """Base is right on the first half of the problems; `lrs` and `cot` differ on the first `lost` and last `won`."""
    base = np.arange(problems) < problems / 2
    other = base.copy()
    other[:lost], other[problems - won :] = False, True
    rows = [
        pd.DataFrame({"arm": arm, "correct": correct, "problem_id": np.arange(problems).astype(str)})
        for arm, correct in (("base", base), ("lrs", other), ("cot", other), ("placebo", base))
    ]
    outcomes = pd.concat(rows).assign(
        backbone="pocket", split="test", benchmark="sums", decoding=decoding, seed=0, tokens=9, processed_tokens=8
    )
    outcomes = outcomes.assign(finish_reason="answered", steered_tokens=0)
    return compare_arms(outcomes, StatisticsSection(confidence_level=0.95, bootstrap_resamples=200))


def test_corrected_sentence_leaves_out_the_primary_contrast_and_the_placebo():
    sentence = corrected_sentence(results(20, 1), 0.95)
    assert sentence == (
        "Of 3 secondary contrasts, after Holm's correction, above base: `lrs` (sums), `cot` (sums; pooled); "
        "below it: none."
    )
    assert "below it: `lrs` (sums), `cot` (sums; pooled)." in corrected_sentence(results(1, 20), 0.95)
    assert "`cot` (sums, sampled; pooled, sampled)" in corrected_sentence(results(1, 20, "sampled"), 0.95)
    assert "above base: none; below it: none." in corrected_sentence(results(5, 4), 0.95)


def test_speed_sentence_gives_times_over_the_unsteered_loop_a_paragraph_a_workload():
    paths = {"hf_generate": 0.25, "unsteered": 1.0, "lrs_token": 0.8, "lrs_history": 0.5, "naive": 0.03}
    costs = pd.DataFrame({"path": paths.keys(), "ratio_to_unsteered": paths.values()}).assign(tokens_per_s=4321.0)
    one, two = speed_sentence(pd.concat([costs.assign(workload=name) for name in ("small", "large")])).split("\n\n")
    assert one.startswith("small: our loop writes 4,321 tokens a second. Steered, a token takes 1.25 times as long")
    assert "with `history` 2.00 times; unsteered in transformers' `generate` 4.00 times" in one
    assert one.endswith("one problem at a time, 33 times.")
    assert two.startswith("large: ")
    without = speed_sentence(costs[costs["path"] != "naive"].assign(workload="wide"))
    assert without.endswith("unsteered in transformers' `generate` 4.00 times.")
    cold = costs.assign(
        workload="cold", ratio_to_unsteered=costs["ratio_to_unsteered"].where(costs["path"] != "hf_generate")
    )
    assert "2.00 times; steered in the published loop" in speed_sentence(cold)
    sloped = speed_sentence(costs.replace({"path": {"naive": "lrs_slope"}}).assign(workload="wide"))
    assert "with `history` 2.00 times, up a quadratic reward at every token 33 times; unsteered" in sloped
