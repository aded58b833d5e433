"""Prompt and output that have nothing to do with each other."""

from random import Random

from simulator.workload.lengths.protocol import TokenCount


class Apart:
    """Draw the prompt's length, then the output's, each from its own distribution."""

    def __init__(self, prompt: TokenCount, output: TokenCount) -> None:
        self._prompt, self._output = prompt, output

    def draw(self, random: Random) -> tuple[int, int]:
        """Return (prompt tokens, output tokens)."""
        return self._prompt.draw(random), self._output.draw(random)
