"""Arrivals with gamma-distributed gaps: burstier than Poisson, or more even."""

from collections.abc import Iterator
from random import Random

from simulator.workload.generators.protocol import NS_PER_S, require_rate


class Gamma:
    """Independent gaps of mean 1 / rate and coefficient of variation `cv`: 1 is Poisson, above it bursts, 0 a metronome.

    A gamma distribution of shape k has a coefficient of variation of 1 / sqrt(k), so k = 1 / cv**2.

    Source: BurstGPT (arXiv 2401.17644), section 3, fits gamma gaps to LLM traffic; serving benchmarks call k "burstiness".
    Limits: gaps are independent of each other, so bursts are no longer than a few gaps; see `on_off` for longer ones. The
    run begins with an arrival just past, not at a random instant.
    """

    def __init__(self, *, rate_per_s: float, cv: float) -> None:
        require_rate("rate_per_s", rate_per_s)
        if not 0 <= cv <= 100:
            raise ValueError(f"cv is {cv:g}; it should be 0 to 100, the gaps' standard deviation over their mean")
        self._mean_ns = NS_PER_S / rate_per_s
        self._cv = cv

    def times(self, random: Random) -> Iterator[int]:
        """Yield the times of arrival in ns."""
        now_ns = 0
        if self._cv == 0:
            while True:
                now_ns += round(self._mean_ns)
                yield now_ns
        scale = self._cv * self._cv
        shape = 1 / scale
        while True:
            now_ns += round(random.gammavariate(shape, scale) * self._mean_ns)
            yield now_ns
