"""Judges of free answers: mathematical equality, the letter of a choice, the relation of an inequality.

An answer is what stands in the last `\\boxed{}` of what a model concludes. A judge reads it within bounds, and never
runs it; mathematical equality is math-verify's, in a process of its own that is ended when it takes too long. One such
process is enough: a comparison takes milliseconds, and the answer that it is about took seconds.

An answer that hedges is wrong.
"""

import multiprocessing
import re
from functools import cache
from multiprocessing.connection import Connection

_LONGEST = 400  # characters of an answer that is looked at
_SECONDS, _TRIES = 5.0, 2  # for one comparison: once more if the process died, or the machine had other work
_BEGINS = 120.0  # seconds in which its process must have begun
_FEW = 20_000  # characters at the end of a text, in which a box is sought
_NAME = r"\\?[A-Za-z]+(?:_\{?\\?\w+\}?)?"
_EQUATION = re.compile(rf"(?:{_NAME}\s*=)?([^=<>]*)")  # of a name with what follows, or that alone
_TUPLE = rf"\({_NAME}(?:\s*,\s*{_NAME})*\)"
_WORDS = r"(?![^=]*\\(?:d?frac|sqrt|cdot|times|div)\b)(?=[^=]*[A-Za-z])[^-=+,;\\\d\s}][^-=+,;]*"  # no sum, no product
_COMMAND = r"(?!\\(?:d?frac|sqrt)\b)\\[A-Za-z]+(?:(?!\\(?:cdot|times|div)\b)[^-=+,;])*"
_NAMED = re.compile(  # x =, f(2) =, \angle ABC =, (x, y) =, x \approx; at the beginning, or behind another value
    rf"(?:^|(?<=[,;}}(=])|(?<=\bor\b)|(?<=\band\b))\s*(?:{_TUPLE}|{_WORDS}|{_COMMAND})\s*(?:=|\\approx\b)"
)
_JOINS = "approx equiv sim to rightarrow Rightarrow implies iff lor vee land wedge mid cap sqcup setminus oplus"
_JOIN = re.compile(  # of two values that are not one, unlike the union of what stands in brackets
    rf"=|\\(?:{'|'.join(_JOINS.split())})(?![A-Za-z])|\\cup(?!\s*(?:\\left\s*)?(?:[(\[]|\\\{{))"
    r"|\\\\|\\&|\s\|\s|\.\s+(?=\S)|(?<=\S)\s*\\text\s*\{[^{}]*\b(?=\d)"
)
_MANY = re.compile(r",|(?<!\\sqrt)\[|\\[{}]")  # a list, an interval, a set
_CHOICE = re.compile(r"(?:\(([A-H])\)|([A-H])(?:[).:]|$))(.*)", re.DOTALL)
_ANOTHER = re.compile(  # directly behind the first one, or bracketed behind a word that takes it back
    r"\s*\(?[A-H]\)|\s*(?:[,;/&]|\b(?:or|and|nor|not|but)\b)\s*(?:\w+\s+)?\(?[A-H](?![A-Za-z])"
    r"|.*\b(?:or|and|nor|not|but)\b[^()]*(?:\([A-H]\)|\b[A-H]\))",
    re.DOTALL,
)
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
    """Whether two answers are equal, as math-verify says; what takes too long is not. Of what it cannot read as a whole
    it takes the last part, so that `41 \\to 42` would be 42: what is joined by a sign, and the reference is not, is
    equal only if each part is."""
    if len(answer) > _LONGEST:
        return False
    if "".join(answer.split()) == "".join(reference.split()):
        return True
    if "\\begin" not in answer and not _JOIN.search(reference):
        parts = _JOIN.split(_NAMED.sub("", answer))
        if len(parts) > 1:
            return all(same_mathematics(part.strip(), reference) for part in parts)
    for _ in range(_TRIES):
        if (verdict := _judge().asked(answer, reference)) is not None:
            return verdict
        _judge.cache_clear()  # a new one is begun
    return False


def _verify(answer: str, reference: str) -> bool:
    from math_verify import parse, verify

    try:
        gold, found = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (reference, answer))
        return bool(gold) and bool(found) and bool(verify(gold, found, timeout_seconds=None))
    except Exception:  # of a library, on a text that a model made up
        return False


class _Judge:
    """A process of its own, which has imported what it needs before it is asked: that is on no comparison's time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if not self._line.poll(_BEGINS) or not self._line.recv():
            raise RuntimeError("the process in which math-verify compares answers does not begin")

    def asked(self, answer: str, reference: str) -> bool | None:
        """What `_verify` says; None if it takes too long, or the process has died: it is then ended."""
        try:
            self._line.send((_verify, answer, reference))
            if self._line.poll(_SECONDS):
                return bool(self._line.recv())
        except (EOFError, OSError):
            pass
        except BaseException:  # interrupted: what it still says is no answer to the next question
            self.end()
            raise
        self.end()
        return None

    def end(self) -> None:
        """Be no longer there."""
        self._process.kill()
        self._process.join()


def _serve(line: Connection) -> None:
    line.send(_verify("1", "1"))
    while True:
        try:
            verify, answer, reference = line.recv()
        except EOFError:  # nobody asks any more
            return
        line.send(verify(answer, reference))


_judge = cache(_Judge)


def same_letter(answer: str, reference: str) -> bool:
    """Whether an answer names the letter of a choice: `B`, `(B)`, `\\text{B}`, `B) 3 kg`, and no other letter."""
    if len(answer) > _LONGEST:  # what is not looked at may take it back
        return False
    found = _CHOICE.fullmatch(_plain(answer))
    return found is not None and reference in found.groups()[:2] and not _ANOTHER.match(found[3])


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
    """Whether an answer is the bound of a reference such as `$C = 4$`: it, or an equation of one name with it; one
    number, neither a set nor an interval."""
    if len(answer) > _LONGEST:
        return False
    bound = reference.strip("$ ").rpartition("=")[2].strip()
    said = _EQUATION.fullmatch(_plain(re.sub(r"\\[()\[\]]", "", answer)))
    return said is not None and not _MANY.search(said[1]) and same_mathematics(said[1].strip(), bound)


def _plain(answer: str) -> str:
    """Without what only sets it: dollar signs, text commands, bold face, a full stop at the end."""
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", answer)
    return bare.replace("$", "").replace("*", "").strip().rstrip(".")


def _sign(text: str) -> str | None:
    """The relation that a text names, if it is nothing else."""
    bare = _plain(text).lower().strip("() ")
    return next((sign for sign, names in _RELATIONS.items() if bare in names), None)
