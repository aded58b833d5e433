"""Lengths with a long tail."""

from math import log, log1p, sqrt
from random import Random

from simulator.workload.lengths.protocol import MAX_TOKENS


class LogNormal:
    """Lengths whose logarithm is normal, of the given mean and coefficient of variation, to the nearest token.

    What falls outside `least` to `most` is moved to the nearer of the two, which moves the mean if it is often.

    Source: for mean m and coefficient of variation c, the logarithm has variance ln(1 + c**2) and mean ln m - variance / 2.
    Limits: prompt and output are drawn apart; lengths from a file keep what they have to do with each other.
    """

    def __init__(self, *, mean: float, cv: float, least: int = 1, most: int = MAX_TOKENS) -> None:
        if not 1 <= least <= most <= MAX_TOKENS:
            raise ValueError(f"least is {least} and most {most}; they should ascend, from 1 to {MAX_TOKENS}")
        if not 0 < mean <= MAX_TOKENS:
            raise ValueError(f"mean is {mean:g}; it should be above 0, and at most {MAX_TOKENS} tokens")
        if not 0 <= cv <= 100:
            raise ValueError(f"cv is {cv:g}; it should be 0 to 100, the standard deviation over the mean")
        variance = log1p(cv * cv)
        self._mu, self._sigma = log(mean) - variance / 2, sqrt(variance)
        self._least, self._most = least, most

    def draw(self, random: Random) -> int:
        """Return a number of tokens."""
        return min(max(round(random.lognormvariate(self._mu, self._sigma)), self._least), self._most)
