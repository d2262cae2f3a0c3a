"""Prime factors: trial division digit by digit, the smallest primes first, stopping early.

Numbers are written by their digits. A trial of 7 on 1 2 3 writes digits of the quotient, each with what is left:
`try 7 : 1 5 , 7 4 no .` What has no factor among `PRIMES` is taken for a prime, sometimes wrongly.
"""

from typing import Any, NamedTuple

from lrs.tasks.behaviors import BACKTRACKING, VERIFICATION
from lrs.tutor.draft import Draft

PRIMES = (2, 3, 5, 7, 11, 13)


class Division(NamedTuple):
    steps: tuple[tuple[int, int], ...]  # a digit of the quotient and the rest so far, without leading zeros
    quotient: int
    rest: int

    def __str__(self) -> str:
        return " , ".join(f"{digit} {rest}" for digit, rest in self.steps)


def digits(number: int) -> str:
    """A number as the reasoner writes it here: `1 2 3`."""
    return " ".join(str(number))


def difficulty(metadata: dict[str, Any]) -> float:
    """0..1, by how many primes have to be tried until half of the digits are gone."""
    number = metadata["number"]
    for tried, prime in enumerate(PRIMES):
        while number % prime == 0:
            number //= prime
        if number * number <= metadata["number"]:
            return tried / len(PRIMES)
    return 1.0


def divide(number: int, prime: int, draft: Draft | None = None) -> Division:
    """Long division; with a `draft`, one digit of it may slip."""
    wrong = draft.rng.randrange(len(str(number))) if draft and draft.decides_to("slip") else None
    steps: list[tuple[int, int]] = []
    rest = quotient = 0
    for position, digit in enumerate(map(int, str(number))):
        step, rest = divmod(10 * rest + digit, prime)
        if position == wrong:
            rest = draft.rng.choice([other for other in range(prime) if other != rest])
        quotient = 10 * quotient + step
        if quotient:
            steps.append((step, rest))
    return Division(tuple(steps), quotient, rest)


def _divides(number: int, prime: int, draft: Draft) -> int | None:
    """Write a trial; the quotient if it (seemingly) leaves nothing and stands a check, if there is one."""
    tried = divide(number, prime, draft)
    draft.say(f"try {prime} : {tried} {'no' if tried.rest else 'yes'} .")
    if tried.rest:
        return None
    if draft.decides_to("verify"):
        again = divide(number, prime)
        draft.say(f"check {prime} with {again} {'wrong' if again != tried else 'ok'} .", VERIFICATION)
        if again != tried:
            draft.say(f"back to {digits(number)} .", BACKTRACKING)
            return again.quotient if again.rest == 0 else None
    return tried.quotient


def solve(metadata: dict[str, Any], draft: Draft) -> str:
    """Divide the primes out, smallest first, until what is left is a prime, seems one, or patience ends."""
    number, factors = metadata["number"], []
    for prime in PRIMES:
        while number >= prime * prime and (quotient := _divides(number, prime, draft)) is not None:
            factors.append(prime)
            number = quotient or 1  # 0 only after a slip
            draft.go_on_with(digits(number))
        if number < prime * prime:
            break
        if prime > 3 and draft.decides_to("give_up"):
            draft.say("give up .")
            return _product(factors, number)
    draft.say(f"prime {digits(number)} .")
    return _product(factors, number)


def _product(factors: list[int], rest: int) -> str:
    return " * ".join(map(digits, [*factors, rest]))
