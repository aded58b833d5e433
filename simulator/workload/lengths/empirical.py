"""Lengths that were observed: pairs of prompt and output, drawn together."""

from array import array
from collections.abc import Iterable
from random import Random

_MAX_PAIRS = 1 << 20


class Empirical:
    """Draw one of the given pairs, each as likely as another, with replacement.

    Of more than a million pairs a fixed random sample of so many is kept, so that memory stays bounded.

    Source: Vitter, "Random sampling with a reservoir", ACM TOMS 11 (1985), algorithm R.
    Limits: nothing between or beyond the observed lengths; successive requests are independent.
    """

    def __init__(self, pairs: Iterable[tuple[int, int]], *, max_pairs: int = _MAX_PAIRS) -> None:
        self._prompt, self._output = array("q"), array("q")
        reservoir = Random(0)
        for index, (prompt, output) in enumerate(pairs):
            if prompt < 1 or output < 1:
                raise ValueError(f"pair {index} is {prompt} and {output} tokens; each should be 1 or more")
            if index < max_pairs:
                self._prompt.append(prompt)
                self._output.append(output)
            elif (place := reservoir.randrange(index + 1)) < max_pairs:
                self._prompt[place], self._output[place] = prompt, output
        if not self._prompt:
            raise ValueError("there are no pairs to draw from; give at least one")

    def draw(self, random: Random) -> tuple[int, int]:
        """Return (prompt tokens, output tokens)."""
        index = random.randrange(len(self._prompt))
        return self._prompt[index], self._output[index]
