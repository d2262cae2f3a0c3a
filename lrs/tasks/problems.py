"""Problems, drawn from reasoning-gym, or read from public data sets.

A problem's id is a hash of what it asks, so that the same problem in another order of its numbers is the same
problem, and its split follows from the id: nobody assigns problems to splits, and two runs cannot disagree.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lrs.core.kept import read_kept
from lrs.core.store import write_rows
from lrs.tasks.benchmarks import BENCHMARKS
from lrs.tasks.hub import Source, deal, rows_of
from lrs.tasks.splits import SPLIT_SHARES, learning_split_of, split_of

_SEED_STRIDE = 10**9  # reasoning-gym makes entry i from seed + i: near seeds would draw the same problems
_MOST_REPEATS = 20_000  # draws in a row without a new problem after which a benchmark counts as exhausted


@dataclass(frozen=True)
class Problem:
    """One question with its reference answer; `metadata` is what its scorer or its judge needs."""

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


def problem_id(benchmark: str, metadata: dict[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of the problem's canonical form, which names its data set."""
    kind = BENCHMARKS[benchmark]
    canonical = f"{kind.dataset}:{kind.canonical(metadata)}"
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def stream_problems(benchmark: str, difficulty: dict[str, Any], seed: int) -> Iterator[Problem]:
    """Distinct problems of a benchmark, in a fixed order, until no new one turns up.

    Args:
        benchmark: one of `BENCHMARKS`.
        difficulty: keyword arguments of the reasoning-gym data set; none of a public one.
        seed: other seeds, other problems; of a public data set the same ones, their choices dealt out in another way.

    Raises:
        ValueError: unknown benchmark, or parameters that its data set does not have.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {benchmark!r}; legal: {', '.join(BENCHMARKS)}")
    kind = BENCHMARKS[benchmark]
    if kind.source:
        if difficulty:
            raise ValueError(f"benchmarks.{benchmark}: a public data set has no difficulty (got {difficulty})")
        yield from _public_problems(benchmark, kind.source, seed)
        return
    import reasoning_gym  # takes seconds, and most stages draw nothing

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
        kept = {key: entry["metadata"][key] for key in kind.keep}
        metadata = json.loads(json.dumps(kept, default=int))  # as it comes back from a table: no tuples, no numpy
        identifier = problem_id(benchmark, metadata)
        if identifier in seen:
            continue
        seen.add(identifier)
        repeats = 0
        yield Problem(
            id=identifier,
            benchmark=benchmark,
            question=kind.state(metadata),
            answer=entry["answer"] or "",  # a graph has many colorings, and its scorer needs none
            metadata=metadata,
            split=split_of(identifier),
        )


def _public_problems(benchmark: str, source: Source, seed: int) -> Iterator[Problem]:
    """The distinct problems of a public data set: of one that is only tested on, all of split `test`, in its order;
    others are shared out between `reward` and `validation`, as their ids say, in the order of these, which is by
    lot. Ids do not depend on the seed, by which choices are dealt out."""
    kind = BENCHMARKS[benchmark]
    found = {problem_id(benchmark, metadata): metadata for metadata in rows_of(source)}
    for identifier in found if kind.transfer else sorted(found):
        metadata = deal(found[identifier], seed)
        split = "test" if kind.transfer else learning_split_of(identifier)
        yield Problem(identifier, benchmark, kind.state(metadata), metadata["reference"], metadata, split)


def draw_problems(benchmark: str, difficulty: dict[str, Any], counts: dict[str, int], seed: int) -> list[Problem]:
    """The first `counts[split]` distinct problems of each split named in `counts`; of a public data set, as many as
    there are.

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
    if any(missing.values()) and not (drawn and BENCHMARKS[benchmark].source):
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


def first_of_each(problems: Iterable[Problem], count: int) -> list[Problem]:
    """The first `count` problems of each benchmark, or as many as it has."""
    return [problem for of_one in by_benchmark(problems).values() for problem in of_one[:count]]


def save_problems(problems: Sequence[Problem], folder: Path) -> None:
    """Write problems as an Arrow table."""
    write_rows(folder / "part-00000.arrow", [problem.to_row() for problem in problems])


def load_problems(folder: Path, split: str | None = None) -> list[Problem]:
    """Read problems written by `save_problems`, those of one split if it is named."""
    problems = [Problem.from_row(row) for row in read_kept(folder)]
    return [problem for problem in problems if split in (None, problem.split)]
