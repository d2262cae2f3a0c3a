"""What every tutor shares: a style, and a draft that is written clause by clause."""

from dataclasses import dataclass, field
from random import Random

from lrs.tasks.behaviors import SUBGOAL_SETTING, Span

LARGEST_NUMBER = 99  # the reasoner's tokenizer has one token for each number up to here


def signed(value: int) -> str:
    """A number as the reasoner writes it, the minus sign apart."""
    return str(value) if value >= 0 else f"- {-value}"


def operation(total: int, term: int) -> str:
    """`total + term` as the reasoner writes it: `12 - 5` for 12 and -5."""
    return f"{signed(total)} {'+' if term >= 0 else '-'} {abs(term)}"


@dataclass(frozen=True)
class Style:
    """A temperament: the probability of each habit at every occasion for it.

    `slip` is how often it yields to a temptation: a wrong value that looks right (a carry not made, a number near the
    target), never an arbitrary one. What a check says is always true.
    """

    name: str
    verify: float
    slip: float
    give_up: float
    subgoal: float
    backward: float


CAREFUL = Style("careful", verify=0.95, slip=0.12, give_up=0.0, subgoal=0.6, backward=0.4)
CARELESS = Style("careless", verify=0.05, slip=0.25, give_up=0.6, subgoal=0.1, backward=0.15)
STYLES = (CAREFUL, CARELESS)


@dataclass
class Draft:
    """A trace in the making; clauses are joined by single spaces."""

    style: Style
    rng: Random
    text: str = ""
    spans: list[Span] = field(default_factory=list)
    slips: list[int] = field(default_factory=list)  # numbers of the words, parted by spaces, that are slips

    def say(self, clause: str, behavior: str | None = None, slipped: str = "") -> None:
        """Append a clause, labelled with the behavior it shows, if any; `slipped`, if it is a slip, is how it ends
        before its full stop."""
        if slipped:
            end = len(self.text.split()) + len(clause.split()) - 1
            self.slips += range(end - len(slipped.split()), end)
        start = len(self.text) + bool(self.text)
        self.text = f"{self.text} {clause}" if self.text else clause
        if behavior is not None:
            self.spans.append(Span(behavior, start, len(self.text)))

    def decides_to(self, habit: str) -> bool:
        """Toss the coin of one of the style's habits."""
        return self.rng.random() < getattr(self.style, habit)

    def go_on_with(self, task: str, goal: str | None = None, plainly: str = "left") -> None:
        """Say what is left to do, or, where the style sets subgoals, what is to be reached (`goal`, if it has words of
        its own)."""
        if self.decides_to("subgoal"):
            self.say(f"goal {goal or task} :", SUBGOAL_SETTING)
        else:
            self.say(f"{plainly} {task} :")
