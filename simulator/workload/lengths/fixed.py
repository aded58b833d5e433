"""One length for all."""

from random import Random

from simulator.workload.lengths.protocol import MAX_TOKENS


class Fixed:
    """Always `tokens`."""

    def __init__(self, *, tokens: int) -> None:
        if not 1 <= tokens <= MAX_TOKENS:
            raise ValueError(f"tokens is {tokens}; it should be 1 to {MAX_TOKENS}")
        self._tokens = tokens

    def draw(self, random: Random) -> int:
        """Return the number of tokens."""
        del random
        return self._tokens
