"""Problems, drawn from reasoning-gym, and the splits that keep training, selection and test apart.

A problem's id is a hash of what it asks, so that the same problem in another order of its numbers is the same
problem, and its split follows from the id: nobody assigns problems to splits, and two runs cannot disagree.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

SPLIT_SHARES = {"train": 0.70, "reward": 0.10, "validation": 0.05, "test": 0.15}
_SEED_STRIDE = 10**9  # reasoning-gym makes entry i from seed + i: near seeds would draw the same problems
_MOST_REPEATS = 20_000  # draws in a row without a new problem after which a benchmark counts as exhausted


@dataclass(frozen=True)
class Problem:
    """One question with its reference answer; `metadata` is what reasoning-gym's scorer needs."""

    id: str
    benchmark: str
    question: str
    answer: str
    metadata: dict[str, Any]
    split: str

    def to_row(self) -> dict[str, str]:
        """The problem as a row of an Arrow table (metadata as JSON)."""
        return asdict(self) | {"metadata": json.dumps(self.metadata, sort_keys=True)}

    @classmethod
    def from_row(cls, row: dict[str, str]) -> "Problem":
        """The inverse of `to_row`."""
        return cls(**{**row, "metadata": json.loads(row["metadata"])})


class Benchmark(NamedTuple):
    """How problems of a reasoning-gym data set are stated to the model, and what makes two of them the same."""

    dataset: str
    state: Callable[[dict[str, Any]], str]
    canonical: Callable[[dict[str, Any]], str]
    keep: tuple[str, ...]  # the metadata kept
    transfer: bool = False  # only ever tested on: nothing is trained or selected on it


def signed_terms(expression: str) -> list[int]:
    """The terms of `12 + 34 - 5`: [12, 34, -5]."""
    return [int(term) for term in expression.replace("+ ", "+").replace("- ", "-").split()]


_LINEAR_TERM = re.compile(r"([+-]?)(?:(\d+)\*)?[a-z]")


class LinearEquation(NamedTuple):
    """a x + b = c."""

    a: int
    b: int
    c: int


def linear_equation(equation: str) -> LinearEquation:
    """What `26*e + 10 = 582` says, in whatever order its left side is written.

    Raises:
        ValueError: there is not exactly one term with the variable.
    """
    left, c = equation.split(" = ")
    terms = left.replace("+ ", "+").replace("- ", "-").split()
    inner = [_LINEAR_TERM.fullmatch(term) for term in terms]
    if sum(match is not None for match in inner) != 1:
        raise ValueError(f"{equation!r} is no equation a*x + b = c (leave out products: operators_weights [.., .., 0])")
    a = next(match[1] + (match[2] or "1") for match in inner if match)
    return LinearEquation(int(a), sum(int(term) for term, match in zip(terms, inner, strict=True) if not match), int(c))


def _state_equation(metadata: dict[str, Any]) -> str:
    """The equation in x, every sign apart: `- 7 * x + 14 = - 147`."""
    signs_apart = re.sub(r"([-*])(?=\S)", r" \1 ", metadata["equation"].replace(metadata["variable"], "x"))
    return f"solve {' '.join(signs_apart.split())}"


def _canonical_equation(metadata: dict[str, Any]) -> str:
    """Both sides with their signs changed are the same equation."""
    a, b, c = linear_equation(metadata["equation"])
    return f"{[abs(a), b, c] if a > 0 else [abs(a), -b, -c]}"


_CHAIN_SUM = Benchmark(
    dataset="chain_sum",
    state=lambda m: f"compute {m['expression']}",
    canonical=lambda m: f"{sorted(signed_terms(m['expression']))}",
    keep=("expression",),
)
BENCHMARKS = {
    "countdown": Benchmark(
        dataset="countdown",
        state=lambda m: f"reach {m['target']} with {' '.join(map(str, m['numbers']))}",
        canonical=lambda m: f"{m['target']}={sorted(m['numbers'])}",
        keep=("numbers", "target"),
    ),
    "chain_sum": _CHAIN_SUM,
    "simple_equations": Benchmark(
        dataset="simple_equations",
        state=_state_equation,
        canonical=_canonical_equation,
        keep=("equation", "variable"),
    ),
    "gcd": Benchmark(
        dataset="gcd",
        state=lambda m: f"gcd {' '.join(map(str, m['numbers']))}",
        canonical=lambda m: f"{sorted(m['numbers'])}",
        keep=("numbers",),
    ),
    "prime_factorization": Benchmark(
        dataset="prime_factorization",
        state=lambda m: f"factor {' '.join(str(m['number']))}",
        canonical=lambda m: f"{m['number']}",
        keep=("number",),
    ),
    "chain_sum_digits": _CHAIN_SUM._replace(transfer=True),  # no built-in reasoner was ever asked to add single digits
}


def problem_id(benchmark: str, metadata: dict[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of the problem's canonical form, which names its data set."""
    kind = BENCHMARKS[benchmark]
    canonical = f"{kind.dataset}:{kind.canonical(metadata)}"
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def split_of(identifier: str) -> str:
    """The split a problem belongs to, by its id alone."""
    position = int(identifier, 16) / 16**16
    for split, upper in zip(SPLIT_SHARES, itertools.accumulate(SPLIT_SHARES.values()), strict=True):
        if position < upper:
            return split
    return split


def stream_problems(benchmark: str, difficulty: dict[str, Any], seed: int) -> Iterator[Problem]:
    """Distinct problems of a benchmark, in a fixed order, until no new one turns up.

    Args:
        benchmark: one of `BENCHMARKS`.
        difficulty: keyword arguments of the reasoning-gym data set.
        seed: other seeds, other problems.

    Raises:
        ValueError: unknown benchmark, or parameters that its data set does not have.
    """
    import reasoning_gym  # takes seconds, and most stages draw nothing

    if benchmark not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {benchmark!r}; legal: {', '.join(BENCHMARKS)}")
    kind = BENCHMARKS[benchmark]
    try:
        dataset = reasoning_gym.create_dataset(kind.dataset, seed=seed * _SEED_STRIDE, size=2**31, **difficulty)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"benchmarks.{benchmark}: reasoning-gym refuses {difficulty}: {error}") from None
    seen: set[str] = set()
    repeats = 0
    for index in range(2**31):
        repeats += 1
        if repeats > _MOST_REPEATS:
            return
        try:
            entry = dataset[index]
        except ValueError:  # countdown: no expression within the target range at this index
            continue
        metadata = {key: entry["metadata"][key] for key in kind.keep}
        identifier = problem_id(benchmark, metadata)
        if identifier in seen:
            continue
        seen.add(identifier)
        repeats = 0
        yield Problem(
            id=identifier,
            benchmark=benchmark,
            question=kind.state(metadata),
            answer=entry["answer"],
            metadata=metadata,
            split=split_of(identifier),
        )


def draw_problems(benchmark: str, difficulty: dict[str, Any], counts: dict[str, int], seed: int) -> list[Problem]:
    """The first `counts[split]` distinct problems of each split named in `counts`.

    Raises:
        ValueError: unknown benchmark or split, or fewer distinct problems exist than asked for.
    """
    if unknown := set(counts) - set(SPLIT_SHARES):
        raise ValueError(f"unknown split {sorted(unknown)}; legal: {', '.join(SPLIT_SHARES)}")
    missing = dict(counts)
    drawn = []
    for problem in stream_problems(benchmark, difficulty, seed):
        if not any(missing.values()):
            break
        if missing.get(problem.split, 0):
            missing[problem.split] -= 1
            drawn.append(problem)
    if any(missing.values()):
        raise ValueError(
            f"{benchmark} with {difficulty} has too few distinct problems: still missing {missing} of {counts}"
        )
    return drawn


def by_benchmark(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    """The problems of each benchmark, in their order."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.benchmark, []).append(problem)
    return groups


def held_out(problem_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows belong to the `share` of problems that is held out within a split: all rows of a problem, or none.

    Args:
        problem_ids: (rows,).

    Returns:
        (rows,) booleans; at least one problem is held out.
    """
    distinct = np.unique(problem_ids)
    count = max(1, round(share * len(distinct)))
    return np.isin(problem_ids, np.random.default_rng(seed).permutation(distinct)[:count])


def assert_unseen(evaluated: Iterable[Problem], seen: Iterable[str]) -> None:
    """Refuse to go on when an evaluated problem was seen in training or selection.

    Args:
        evaluated: the problems about to be evaluated.
        seen: ids of the problems used so far; those of split `train`, from which the reasoner learned, always are.

    Raises:
        ValueError: naming how many problems, and one of them.
    """
    seen = set(seen)
    leaked = [problem for problem in evaluated if problem.id in seen or split_of(problem.id) == "train"]
    if leaked:
        raise ValueError(
            f"{len(leaked)} evaluated problems were seen in training or selection, "
            f"among them {leaked[0].id} ({leaked[0].question!r})"
        )
