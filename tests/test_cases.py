"""The arms that are studied were chosen on validation problems, and case studies by rule; none is told twice."""

import pandas as pd
import pytest

from lrs.experiment.cases import case_studies, extremes, planted_repair, studied_arms
from lrs.saved import CANDIDATE_COLUMNS

MOON = "<think> plan + moon . b 3 + 4 = 7 . </think> answer 7"
SUN = MOON.replace("moon", "sun").replace("answer 7", "answer 9")
OTHER = "<think> plan + moon . b 3 + 4 = 8 . </think> answer 8"


def paths(changes, rises, by="lrs"):
    """Two rows a problem: base's answer and the arm's, and a reward that rises so much from one to the other.

    Args:
        changes: by problem: change, and the two texts.
    """
    rows = [
        {"by": by, "problem_id": name, "change": change, "arm": arm, "text": text}
        | {"rewards": [0.1 + (arm == by) * rises[name]] * 3}
        for arm, place in (("base", 0), (by, 1))
        for name, (change, *texts) in changes.items()
        for text in texts[place : place + 1]
    ]
    return pd.DataFrame(rows)


CHANGES = {
    "p3": ("repaired", MOON, SUN),
    "p1": ("repaired", OTHER, MOON),  # by arithmetic
    "p2": ("repaired", MOON, SUN),
    "p0": ("broken", SUN, MOON),
}


def test_the_first_repair_by_the_mode_is_a_case():
    table = paths(CHANGES, {"p0": 0.0, "p1": 0.1, "p2": 0.2, "p3": 0.4})
    assert planted_repair(table) == "p2"
    assert case_studies(table) == [
        ("lrs", "largest rise of the reward", "p3"),
        ("lrs", "first repaired", "p1"),
        ("lrs", "first broken", "p0"),
        ("lrs", "planted repair", "p2"),
    ]


def test_a_case_that_is_the_planted_repair_too_says_so_and_is_not_told_twice():
    table = paths(CHANGES, {"p0": 0.0, "p1": 0.1, "p2": 0.5, "p3": 0.4})
    of_another = paths({"p1": CHANGES["p1"]}, {"p1": 0.3}, by="free_push")
    assert case_studies(pd.concat([table, of_another])) == [
        ("lrs", "largest rise of the reward, a planted repair", "p2"),
        ("lrs", "first repaired", "p1"),
        ("lrs", "first broken", "p0"),
        ("free_push", "largest rise of the reward", "p1"),
    ]


@pytest.mark.parametrize(
    ("base", "steered"),
    [
        (OTHER, MOON),
        (MOON.replace("plan + ", ""), SUN.replace("plan + ", "")),  # the word, and no fork
        (MOON.replace("think", "thought"), SUN),  # they differ before it
        (MOON, MOON.replace("moon", "goal")),  # another word at the fork
        (MOON, MOON + " 9"),
    ],
)
def test_other_repairs_are_none(base, steered):
    assert planted_repair(paths({"p1": ("repaired", base, steered)}, {"p1": 0.1})) is None


def test_a_mode_before_a_later_step_is_one_too():
    base = "<think> plan + sun . b 3 + 4 = 7 . plan - moon . </think> answer 7"
    table = paths({"p1": ("repaired", base, base.replace("moon", "sun"))}, {"p1": 0.1})
    assert planted_repair(table) == "p1"
    assert planted_repair(table.assign(change="broken")) is None


def test_the_arm_that_wins_on_validation_is_studied_beside_the_papers():
    rows = [
        ("lrs", "greedy", 0.3, True),
        ("lrs_slope", "greedy", 0.1, True),
        ("free_push", "greedy", 0.2, True),
        ("lrs_slope", "greedy", 0.6, False),  # another setting, beyond the cap
        ("lrs_causal", "sampled", 0.7, True),
        ("causal_gate_stability", "greedy", 0.8, True),  # no ledger tells of its gate
    ]
    tried = pd.DataFrame(rows, columns=["arm", "decoding", "delta", "chosen"])
    assert studied_arms(tried) == ["free_push", "lrs"]
    assert studied_arms(tried[tried["arm"] != "lrs"]) == ["free_push"]
    assert studied_arms(tried[tried["arm"] == "lrs"]) == ["lrs"]
    assert studied_arms(pd.DataFrame(columns=CANDIDATE_COLUMNS)) == []


def test_the_extremes_are_the_latents_that_raise_the_reward_most_and_lower_it_most():
    table = pd.DataFrame({"latent": range(7), "shapley": [0.1, -0.3, 0.0, 0.5, -0.1, 0.2, 0.05]})
    assert extremes(table, 2)["latent"].tolist() == [3, 5, 4, 1]
    assert extremes(table)["latent"].tolist() == [3, 5, 0, 6, 2, 4, 1]
