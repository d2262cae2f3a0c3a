import re
from collections import Counter
from random import Random

import pytest

from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import signed_terms
from lrs.tasks.problems import Problem
from lrs.tutor.planted import FORK, MOON, OTHER, SUN, TIERS, matters, right_mode, write_planted

CAUSAL = ("p1", "p2", "p4")


@pytest.fixture(scope="module")
def sums(drawn_problems):
    return drawn_problems["chain_sum"]


def terms_of(problem):
    return signed_terms(problem.metadata["expression"])


@pytest.mark.parametrize("tier", TIERS)
def test_texts_are_in_the_vocabulary_and_alike_up_to_the_fork(sums, tier):
    tokenizer = build_tokenizer()
    for problem in sums:
        texts = [write_planted(problem, tier, 1.0, Random(0), mode).text for mode in (SUN, MOON)]
        assert all(tokenizer.decode(tokenizer(text)["input_ids"]) == text for text in texts)
        assert [text.partition(f" {FORK} ")[0] for text in texts] == ["<think>", "<think>"]


@pytest.mark.parametrize("tier", CAUSAL)
def test_the_right_mode_is_right_and_the_other_leaves_terms_out(sums, tier):
    seen = Counter()
    for problem in sums:
        right = right_mode(problem, tier)
        wrong = OTHER[right]
        assert is_correct(problem, write_planted(problem, tier, 1.0, Random(0), right).text)
        text = write_planted(problem, tier, 1.0, Random(0), wrong).text
        first, *others = terms_of(problem)
        kept = first if tier == "p4" else first + sum(others[:-1])
        assert text.endswith(f" answer {kept if kept >= 0 else f'- {-kept}'}")
        assert is_correct(problem, text) == (kept == sum(terms_of(problem)))
        seen[right] += 1
    assert set(seen) == ({SUN, MOON} if tier == "p2" else {SUN})


@pytest.mark.parametrize("tier", CAUSAL)
def test_every_step_that_is_written_holds(sums, tier):
    for problem in sums:
        text = write_planted(problem, tier, 1.0, Random(problem.id)).text
        for left, sign, right, value in re.findall(r"((?:- )?\d+) ([-+]) (\d+) = ((?:- )?\d+)", text):
            left, value = (int(number.replace(" ", "")) for number in (left, value))
            assert left + int(f"{sign}{right}") == value


def test_the_mode_decides_nothing_of_p0_nor_without_a_dose(sums):
    for problem in sums:
        for tier, dose in (("p0", 1.0), ("p1", 0.0), ("p2", 0.0)):
            sun, moon = (write_planted(problem, tier, dose, Random(1), mode).text for mode in (SUN, MOON))
            assert sun.replace(SUN, MOON) == moon


@pytest.mark.parametrize("dose", [0.0, 0.05, 0.25, 0.5, 1.0])
def test_the_mode_matters_in_the_share_of_the_dose(dose):
    rng = Random(0)
    count = 4000
    some = [
        Problem("id", "chain_sum", "", "", {"expression": f"{rng.randint(0, 9)} + {rng.randint(0, 9)} - 3"}, "train")
        for _ in range(count)
    ]
    share = sum(matters(problem, dose) for problem in some) / count
    assert share == pytest.approx(dose, abs=3 * (dose * (1 - dose) / count) ** 0.5 + 1e-12)


def test_modes_are_drawn_half_and_half_but_for_the_decoy_and_the_steps(sums):
    moons = {tier: Counter() for tier in TIERS}
    for seed, problem in enumerate(sums * 30):
        short = len(terms_of(problem)) <= 8
        for tier in TIERS:
            text = write_planted(problem, tier, 1.0, Random(seed)).text
            for mode in re.findall(rf"{FORK} (\w+)", text):
                moons[tier][short, mode] += 1
    shares = {
        (tier, short): counts[short, MOON] / (counts[short, MOON] + counts[short, SUN])
        for tier, counts in moons.items()
        for short in (True, False)
    }
    for tier, (short, long) in {
        "p0": (0.5, 0.5),
        "p1": (0.5, 0.5),
        "p2": (0.5, 0.5),
        "p3": (0.15, 0.85),
        "p4": (0.15, 0.15),
    }.items():
        assert (shares[tier, True], shares[tier, False]) == (
            pytest.approx(short, abs=0.07),
            pytest.approx(long, abs=0.07),
        )
