"""How many tokens a request has."""

from random import Random
from typing import Protocol

MAX_TOKENS = 1 << 30


class Lengths(Protocol):
    """The lengths of a request's prompt and output, drawn together."""

    def draw(self, random: Random) -> tuple[int, int]:
        """Return (prompt tokens, output tokens), each 1 or more."""
        ...


class TokenCount(Protocol):
    """One length."""

    def draw(self, random: Random) -> int:
        """Return a number of tokens, 1 or more."""
        ...
