"""Judges of free answers: mathematical equality, the letter of a choice, the relation of an inequality.

An answer is what stands in the last `\\boxed{}` of what a model concludes. A judge reads it within bounds, and never
runs it; mathematical equality is math-verify's, in a process of its own that is ended when it takes too long.
"""

import atexit
import multiprocessing
import re
from functools import cache
from typing import Any

_LONGEST = 400  # characters of an answer that is looked at
_SECONDS = 5.0  # for one comparison
_FEW = 20_000  # characters at the end of a text, in which a box is sought
_EQUATION = re.compile(
    r"(?:\\?[A-Za-z]+(?:_\{?\\?\w+\}?)?\s*=)?([^=<>]*)"
)  # of a name with what follows, or that alone
_RELATIONS = {
    "<=": (r"\leq", r"\le", "<=", "≤"),
    ">=": (r"\geq", r"\ge", ">=", "≥"),
    "=": ("=",),
    "<": (r"\lt", "<"),
    ">": (r"\gt", ">"),
    "none": ("none of the above", "none"),
}


def boxed(text: str) -> str | None:
    """What stands in the last closed `\\boxed{}` of what a model concludes: behind its last `</think>`, if any."""
    conclusion = text.rpartition("</think>")[2][-_FEW:]
    for start in reversed([match.end() for match in re.finditer(r"\\f?boxed\s*\{", conclusion)]):
        depth = 1
        for place in range(start, len(conclusion)):
            depth += {"{": 1, "}": -1}.get(conclusion[place], 0)
            if not depth:
                return conclusion[start:place].strip() or None
    return None


def same_mathematics(answer: str, reference: str) -> bool:
    """Whether two answers are equal, as math-verify says; what takes too long is not."""
    if len(answer) > _LONGEST:
        return False
    if "".join(answer.split()) == "".join(reference.split()):
        return True
    try:
        return _pool().apply_async(_verify, (answer, reference)).get(_SECONDS)
    except multiprocessing.TimeoutError:  # or its process died: a new one is begun for the next
        _pool().terminate()
        _pool.cache_clear()
        return False


def _verify(answer: str, reference: str) -> bool:
    from math_verify import parse, verify

    try:
        gold, found = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (reference, answer))
        return bool(gold) and bool(found) and bool(verify(gold, found, timeout_seconds=None))
    except Exception:  # of a library, on a text that a model made up
        return False


@cache
def _pool() -> Any:
    pool = multiprocessing.get_context("spawn").Pool(1)
    atexit.register(pool.terminate)
    return pool


def same_letter(answer: str, reference: str) -> bool:
    """Whether an answer names the letter of a choice: `B`, `(B)`, `\\text{B}`, `B) 3 kg`, and no other letter."""
    if len(answer) > _LONGEST:  # what is not looked at may take it back
        return False
    found = re.fullmatch(r"\(?([A-H])(?:[).:].*)?", _plain(answer), re.DOTALL)
    return found is not None and found[1] == reference


def same_relation(answer: str, reference: str) -> bool:
    """Whether an answer names a relation: by the letter of its choice, or by its sign or words.

    Args:
        reference: `(B) $\\geq$`.
    """
    if len(answer) > _LONGEST:
        return False
    letter, _, relation = reference.strip().partition(")")
    said = _plain(answer)
    if same_letter(answer, letter.strip("( ")):
        return _sign(said.partition(")")[2]) in (None, _sign(relation))
    return _sign(said) is not None and _sign(said) == _sign(relation)


def same_bound(answer: str, reference: str) -> bool:
    """Whether an answer is the bound of a reference such as `$C = 4$`: it, or an equation of one name with it."""
    if len(answer) > _LONGEST:
        return False
    bound = reference.strip("$ ").rpartition("=")[2].strip()
    said = _EQUATION.fullmatch(_plain(re.sub(r"\\[()\[\]]", "", answer)))
    return said is not None and same_mathematics(said[1].strip(), bound)


def _plain(answer: str) -> str:
    """Without what only sets it: dollar signs, text commands, bold face, a full stop at the end."""
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", answer)
    return bare.replace("$", "").replace("*", "").strip().rstrip(".")


def _sign(text: str) -> str | None:
    """The relation that a text names, if it is nothing else."""
    bare = _plain(text).lower().strip("() ")
    return next((sign for sign, names in _RELATIONS.items() if bare in names), None)
