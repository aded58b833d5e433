"""Poisson arrivals: many senders that know nothing of each other."""

from collections.abc import Iterator
from random import Random

from simulator.workload.generators.protocol import NS_PER_S, require_rate


class Poisson:
    """Exponential gaps of mean 1 / rate; the first arrival comes after one.

    With the same seed, another rate stretches the same arrivals.

    Source: the definition; gaps are independent and have no memory.
    Limits: real traffic is burstier, and its rate has hours of the day.
    """

    def __init__(self, *, rate_per_s: float) -> None:
        require_rate("rate_per_s", rate_per_s)
        self._mean_ns = NS_PER_S / rate_per_s

    def times(self, random: Random) -> Iterator[int]:
        """Yield the times of arrival in ns."""
        now_ns = 0
        while True:
            now_ns += round(random.expovariate(1.0) * self._mean_ns)
            yield now_ns
