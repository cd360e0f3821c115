"""How much a render may use, and the account that is kept of it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic

from infraxys.velocity.errors import LimitError

PERIOD = 256  # steps between two looks at the clock


@dataclass(frozen=True, slots=True)
class Limits:
    """What one render, with all renders that the host starts inside it, may use. All are upper bounds.

    steps: elements rendered, rounds of loops, items made, calls.
    seconds: wall time.
    output: characters of the result.
    string: characters of one string.
    characters: characters of all strings that are made on the way.
    items: entries of one list or map, and length of a range.
    macro_depth: macro calls in one another (20 in the original).
    template_depth: #parse and #evaluate in one another.
    render_depth: renders in one another, through methods of the host.
    integer_bits: size of an integer.
    """

    steps: int = 1_000_000
    seconds: float = 1.5
    output: int = 8_000_000
    string: int = 1_000_000
    characters: int = 24_000_000
    items: int = 100_000
    macro_depth: int = 20
    template_depth: int = 10
    render_depth: int = 16
    integer_bits: int = 4096


# The account of the render that runs, and how deep it is inside others: renders that the host starts share the account.
ACCOUNT: ContextVar[tuple[Budget, int] | None] = ContextVar("infraxys_velocity_account", default=None)


def current() -> Budget:
    """Return the account of the render that runs, for methods of hosts whose work grows with their arguments."""
    account = ACCOUNT.get()
    return Budget(Limits()) if account is None else account[0]


class Budget:
    """The account of a render. `left` counts down to the next look at the clock."""

    __slots__ = ("characters", "deadline", "left", "limits", "steps")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.deadline = monotonic() + limits.seconds
        self.left = PERIOD
        self.steps = limits.steps - PERIOD
        self.characters = limits.characters

    def check(self) -> None:
        """Take the steps for the next period and look at the clock; to be called when `left` is below zero."""
        self.steps += self.left - PERIOD
        self.left = PERIOD
        if self.steps < 0:
            raise LimitError(f"The template takes more than {self.limits.steps:,} steps")
        if monotonic() > self.deadline:
            raise LimitError(f"The template takes longer than {self.limits.seconds:g} seconds")

    def spend(self, steps: int) -> None:
        """Count steps."""
        self.left -= steps
        if self.left < 0:
            self.check()

    def time_left(self) -> float:
        """Return the seconds up to the deadline, at least a hundredth."""
        return max(self.deadline - monotonic(), 0.01)

    def fits(self, length: int) -> None:
        """Refuse a string of more characters than a string may have."""
        if length > self.limits.string:
            raise LimitError(f"A string is longer than {self.limits.string:,} characters")

    def made(self, text: str) -> str:
        """Count a new string."""
        length = len(text)
        if length > 64:
            self.fits(length)
            self.characters -= length
            if self.characters < 0:
                raise LimitError(f"The template makes strings of more than {self.limits.characters:,} characters")
        return text

    def room(self, length: int) -> None:
        """Refuse a list or map of more items than one may have, and count them."""
        if length > self.limits.items:
            raise LimitError(f"A list or map has more than {self.limits.items:,} items")

    def integer(self, value: int) -> None:
        """Refuse an integer that is too large."""
        if value.bit_length() > self.limits.integer_bits:
            raise LimitError(f"An integer has more than {self.limits.integer_bits:,} bits")
