"""Judges of free answers: mathematical equality, the letter of a choice, the relation of an inequality.

An answer is what stands in the last `\\boxed{}` of what a model concludes. A judge reads it within bounds, and never
runs it; mathematical equality is math-verify's, in a process of its own that is ended when it takes too long. One such
process is enough: a comparison takes milliseconds, and the answer that it is about took seconds.
"""

import multiprocessing
import re
from functools import cache
from multiprocessing.connection import Connection

_LONGEST = 400  # characters of an answer that is looked at
_SECONDS, _TRIES = 5.0, 2  # for one comparison: once more if the process died, or the machine had other work
_BEGINS = 120.0  # seconds in which its process must have begun
_FEW = 20_000  # characters at the end of a text, in which a box is sought
_EQUATION = re.compile(r"(?:\\?[A-Za-z]+(?:_\{?\\?\w+\}?)?\s*=)?([^=<>]*)")  # of a name with a value, or that alone
_SPACE = re.compile(r"(?<!\\)\\[,;:! ]|\\q?quad(?![A-Za-z])|\{,\}")
_NUMBER = re.compile(  # no letter but of what makes one number of others
    r"(?=.*\d)(?:\\(?:[dt]?frac|sqrt|pi|cdot|times|div|left|right)(?![A-Za-z])|[-+*/^.,(){}\[\]\s\d])+"
)
_JOINS = "sim to implies iff lor vee land wedge mid cup cap sqcup setminus oplus then or and"
_JOIN = re.compile(  # of several answers to one
    rf"=|\\?(?<![A-Za-z])(?:{'|'.join(_JOINS.split())}|(?:[Ll]ong)?[Ll]?(?:eft)?[Rr]ightarrow)(?![A-Za-z])"
    r"|,\s*\\[lc]?dots|\\\\|\\&|\s\|\s|\.\s+(?=\S)"
)
_DENIED = re.compile(r"\\(?:neq?|not)(?![A-Za-z])|≠")
_LIST = re.compile(  # commas in no bracket, or brackets around all of it that make it an interval or a set
    r"[^()\[\]{}]*,[^()\[\]{}]*|(?:\\left\s*)?(?:\[|\\\{)[^\[\]]*(?:\]|\\\})"
)
_CHOICE = re.compile(r"(?:\(([A-H])\)|([A-H])(?:[).:]|$))(.*)", re.DOTALL)
_ANOTHER = re.compile(  # directly behind the first one, or bracketed behind a word that takes it back
    r"\s*\(?[A-H]\)(?!-)|\s*(?:[,;/&]|\b(?:or|and|nor|not|but)\b)\s*(?:\w+\s+){0,2}\(?[A-H](?![A-Za-z])"
    r"|.*\b(?:or|and|nor|not|but)\b[^()]*(?:\([A-H]\)|\b[A-H]\))(?!-)",
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
    """Whether two answers are equal, as math-verify says; what takes too long is not.

    Of what it cannot read as a whole math-verify takes the last part, so that `41 = 42` or `41 \\to 42` would be 42:
    where one number is asked for, an answer that names another one beside it is wrong.
    """
    if len(answer) > _LONGEST:
        return False
    answer = answer.strip().removesuffix(".")
    if "".join(answer.split()) == "".join(reference.split()):
        return True
    if _is_number(reference) and "," not in reference and _hedges(answer, reference):
        return False
    for _ in range(_TRIES):
        if (verdict := _judge().asked(answer, reference)) is not None:
            return verdict
        _judge.cache_clear()  # a new one is begun
    return False


def _hedges(answer: str, reference: str) -> bool:
    """Whether an answer joins a number to others that are not equal to it, or denies it."""
    parts = [part.strip(" .,;:") for part in _JOIN.split(_SPACE.sub(" ", _plain(answer)))]
    parts = [part.strip("( )") if part.count("(") != part.count(")") else part for part in parts]
    others = [part for part in parts if _is_number(part)] if len(parts) > 1 else []
    return bool(_DENIED.search(answer)) or not all(same_mathematics(part, reference) for part in others)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


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
    return _choice(_plain(answer))[0] == reference


def _choice(said: str) -> tuple[str | None, str]:
    """The letter of the one choice that is named, if one is, and what follows it."""
    found = _CHOICE.fullmatch(said)
    if found is None or _ANOTHER.match(found[3]):
        return None, ""
    return found[1] or found[2], found[3]


def same_relation(answer: str, reference: str) -> bool:
    """Whether an answer names a relation: by the letter of its choice, or by its sign or words.

    Args:
        reference: `(B) $\\geq$`.
    """
    if len(answer) > _LONGEST:
        return False
    letter, _, relation = reference.strip().partition(")")
    said = _plain(answer)
    chosen, rest = _choice(said)
    if chosen == letter.strip("( "):
        return _sign(rest) in (None, _sign(relation))
    return _sign(said) is not None and _sign(said) == _sign(relation)


def same_bound(answer: str, reference: str) -> bool:
    """Whether an answer is the bound of a reference such as `$C = 4$`: it, or an equation of one name with it; one
    number, neither a set nor an interval."""
    if len(answer) > _LONGEST:
        return False
    bound = reference.strip("$ ").rpartition("=")[2].strip()
    said = _EQUATION.fullmatch(_SPACE.sub("", _plain(re.sub(r"\\[()\[\]]", "", answer))))
    if said is None:
        return False
    one = said[1].strip()
    return one == bound or (not _LIST.fullmatch(one) and same_mathematics(one, bound))


def _plain(answer: str) -> str:
    """Without what only sets it: dollar signs, text commands, bold face, a full stop at the end."""
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", answer)
    return bare.replace("$", "").replace("*", "").strip().rstrip(".")


def _sign(text: str) -> str | None:
    """The relation that a text names, if it is nothing else."""
    bare = _plain(text).lower().strip("() ")
    return next((sign for sign, names in _RELATIONS.items() if bare in names), None)
