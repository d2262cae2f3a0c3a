"""The four cognitive behaviors, and the parser that finds them in generated text.

The built-in reasoner thinks in clauses, each opened by a keyword. Four of the keywords open a cognitive
behavior, so a behavior is a fact about the text and needs no judge. The tutor labels its own clauses while
writing; `find_behaviors` recovers the same labels from text alone.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

VERIFICATION = "verification"
BACKTRACKING = "backtracking"
SUBGOAL_SETTING = "subgoal_setting"
BACKWARD_CHAINING = "backward_chaining"
BEHAVIORS = (VERIFICATION, BACKTRACKING, SUBGOAL_SETTING, BACKWARD_CHAINING)

_OPENING_WORD = {
    VERIFICATION: "check",
    BACKTRACKING: "back",
    SUBGOAL_SETTING: "goal",
    BACKWARD_CHAINING: "want",
}
_CLOSING = {SUBGOAL_SETTING: ":"}
_PATTERN = re.compile(
    "|".join(
        rf"(?P<{behavior}>\b{word}\b[^.:]*?(?:{re.escape(_CLOSING.get(behavior, '.'))}|$))"
        for behavior, word in _OPENING_WORD.items()
    )
)


class Span(NamedTuple):
    """A stretch of text, `start` inclusive and `end` exclusive in characters, that shows one behavior."""

    behavior: str
    start: int
    end: int


def find_behaviors(text: str) -> list[Span]:
    """The behavior spans of a reasoning trace, in order of appearance."""
    return [Span(name, *match.span()) for match in _PATTERN.finditer(text) if (name := match.lastgroup)]


def count_behaviors(text: str, find: Callable[[str], list[Span]] = find_behaviors) -> dict[str, int]:
    """How often each of `BEHAVIORS` occurs in the text (zero where it does not), as `find` finds them."""
    counts = Counter(span.behavior for span in find(text))
    return {behavior: counts[behavior] for behavior in BEHAVIORS}
