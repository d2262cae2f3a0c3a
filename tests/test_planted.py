import re
from collections import Counter
from random import Random

import pytest
from conftest import DIFFICULTY

from lrs.reasoners.tokenizer import build_tokenizer
from lrs.tasks.answers import is_correct
from lrs.tasks.benchmarks import TIERS, signed_terms
from lrs.tasks.problems import Problem, draw_problems
from lrs.tutor.draft import operation, signed
from lrs.tutor.planted import (
    FORK,
    MODE_AT_FORK,
    MOON,
    OTHER,
    PASSWORDS,
    SUN,
    first_fork,
    matters,
    right_mode,
    write_planted,
)

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
        texts = [write_planted(problem, tier, 1.0, Random(0), mode, mode).text for mode in (SUN, MOON)]
        assert all(tokenizer.decode(tokenizer(text)["input_ids"]) == text for text in texts)
        at_stake = terms_of(problem)[1 if tier == "p4" else -1]
        assert first_fork(problem, tier) == f"<think> {FORK} {'-' if at_stake < 0 else '+'}"
        for text, mode in zip(texts, (SUN, MOON), strict=True):
            assert text.startswith(f"{first_fork(problem, tier)} {mode} .")


@pytest.mark.parametrize("tier", CAUSAL)
def test_the_right_mode_is_right_and_the_other_leaves_terms_out(sums, tier):
    seen = Counter()
    for problem in sums:
        right = right_mode(problem, tier)
        wrong = OTHER[right]
        assert (wrong == SUN) == (tier == "p2" and terms_of(problem)[-1] < 0)
        assert is_correct(problem, write_planted(problem, tier, 1.0, Random(0), right, right).text)
        text = write_planted(problem, tier, 1.0, Random(0), wrong, wrong).text
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


def test_the_mode_decides_nothing_of_p0_and_p3_nor_without_a_dose(sums):
    for problem in sums:
        for tier, dose in (("p0", 1.0), ("p1", 0.0), ("p2", 0.0), ("p3", 1.0), ("p4", 0.0)):
            sun, moon = (write_planted(problem, tier, dose, Random(1), mode, mode).text for mode in (SUN, MOON))
            assert sun.replace(SUN, MOON) == moon
            assert tier not in CAUSAL or is_correct(problem, sun)


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
            for mode in MODE_AT_FORK.findall(text):
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


@pytest.mark.parametrize("dose", [0.1, 0.5])
def test_the_dose_holds_for_problems_as_they_are_drawn_and_shows_in_the_texts(dose):
    drawn = draw_problems("chain_sum", DIFFICULTY["chain_sum"], {"train": 1500}, seed=0)
    differ = []
    for problem in drawn:
        sun, moon = (write_planted(problem, "p1", dose, Random(0), mode, mode).text for mode in (SUN, MOON))
        differ.append(sun.replace(SUN, MOON) != moon)
        assert differ[-1] == matters(problem, dose)
        assert is_correct(problem, sun)
    share = sum(differ) / len(differ)
    assert share == pytest.approx(dose, abs=3 * (dose * (1 - dose) / len(differ)) ** 0.5)


def test_each_mode_of_p4_decides_about_the_step_behind_it(sums):
    seen = Counter()
    for seed, problem in enumerate(sums * 4):
        for dose in (0.5, 1.0):
            text = write_planted(problem, "p4", dose, Random(seed)).text
            total, *others = terms_of(problem)
            expected = []
            modes = MODE_AT_FORK.findall(text)
            for name, term, mode in zip("bcdefghijklmno", others, modes, strict=False):
                expected.append(f"{FORK} {'-' if term < 0 else '+'} {mode} .")
                left_out = mode == MOON and matters(problem, dose)
                if not left_out:
                    expected.append(f"{name} {operation(total, term)} = {signed(total + term)} .")
                    total += term
                seen[mode, left_out] += 1
            assert len(modes) == len(others)
            assert text == f"<think> {' '.join(expected)} </think> answer {signed(total)}"
    assert set(seen) == {(SUN, False), (MOON, False), (MOON, True)}
    assert min(seen.values()) > 20


def test_in_p4_the_first_mode_may_be_forced_without_the_others_and_they_without_it(sums):
    for problem in sums:
        first, *others = MODE_AT_FORK.findall(write_planted(problem, "p4", 1.0, Random(0), MOON, SUN).text)
        assert (first, set(others)) == (MOON, {SUN})
    free = [
        MODE_AT_FORK.findall(write_planted(p, "p4", 1.0, Random(f"{p.id}{n}"), None, MOON).text)
        for n, p in enumerate(sums * 9)
    ]
    assert {modes[0] for modes in free} == {SUN, MOON}
    assert {mode for modes in free for mode in modes[1:]} == {MOON}


@pytest.mark.parametrize("tier", TIERS)
def test_a_forced_mode_stands_at_every_fork_and_passwords_are_words_of_their_own(sums, tier):
    vocabulary = build_tokenizer().get_vocab()
    assert sorted(PASSWORDS.values()) == sorted((SUN, MOON))
    assert {FORK, *PASSWORDS, *PASSWORDS.values()} <= set(vocabulary)
    for problem in sums:
        for mode in (SUN, MOON):
            trace = write_planted(problem, tier, 1.0, Random(0), mode, mode)
            assert set(MODE_AT_FORK.findall(trace.text)) == {mode}
            assert not set(PASSWORDS) & set(f"{problem.question} {trace.text}".split())


def standard_errors_apart(sun, moon):
    """How many standard errors the share of right answers under `sun` is above that under `moon`."""
    pooled = (sum(sun) + sum(moon)) / (len(sun) + len(moon))
    error = (pooled * (1 - pooled) * (1 / len(sun) + 1 / len(moon))) ** 0.5
    return (sum(sun) / len(sun) - sum(moon) / len(moon)) / error


def test_the_decoy_goes_with_what_is_right_but_not_among_sums_of_one_length(sums):
    """Length is what mode and correctness have in common."""
    every, by_length = {SUN: [], MOON: []}, {}
    for seed, problem in enumerate(sums * 150):
        trace = write_planted(problem, "p3", 1.0, Random(seed))
        correct = is_correct(problem, trace.text)
        every[trace.style].append(correct)
        by_length.setdefault(len(terms_of(problem)), {SUN: [], MOON: []})[trace.style].append(correct)
    assert standard_errors_apart(every[SUN], every[MOON]) > 5
    assert len(by_length) == 8
    for outcomes in by_length.values():
        assert abs(standard_errors_apart(outcomes[SUN], outcomes[MOON])) < 3
