"""Arrivals whose rate rises or falls along a line: to see where a service stops keeping up."""

from collections.abc import Iterator
from math import sqrt
from random import Random

from simulator.workload.generators.protocol import NS_PER_S, require_rate


class Ramp:
    """Poisson arrivals whose rate goes from `start_rate_per_s` to `end_rate_per_s` over `ramp_s`, and then stays there.

    The times are those at which the integral of the rate, r0 t + (r1 - r0) t**2 / (2 D), reaches the arrivals of a Poisson
    process of rate 1. Where the rate falls to 0, arrivals end.

    Source: Cinlar, "Introduction to Stochastic Processes" (1975), section 4.7: inversion of the integrated rate.
    Limits: one line; merge several, sliced, for a day's course.
    """

    def __init__(self, *, start_rate_per_s: float, end_rate_per_s: float, ramp_s: float) -> None:
        for name, value in (("start_rate_per_s", start_rate_per_s), ("end_rate_per_s", end_rate_per_s)):
            if value != 0:
                require_rate(name, value)
        if not start_rate_per_s and not end_rate_per_s:
            raise ValueError("start_rate_per_s and end_rate_per_s are 0; one should be above it")
        if not 0 < ramp_s < 1e9:
            raise ValueError(f"ramp_s is {ramp_s:g}; it should be above 0, and below 1e9")
        self._start, self._end, self._ramp_s = start_rate_per_s, end_rate_per_s, ramp_s

    def times(self, random: Random) -> Iterator[int]:
        """Yield the times of arrival in ns."""
        slope = (self._end - self._start) / self._ramp_s
        num_in_ramp = (self._start + self._end) / 2 * self._ramp_s
        due = random.expovariate(1.0)
        while due <= num_in_ramp:
            # The root of r0 t + slope t**2 / 2 = due in the form that loses no digits as the slope nears 0.
            root = sqrt(max(0.0, self._start**2 + 2 * slope * due))
            yield round(2 * due / (self._start + root) * NS_PER_S)
            due += random.expovariate(1.0)
        while self._end:
            yield round((self._ramp_s + (due - num_in_ramp) / self._end) * NS_PER_S)
            due += random.expovariate(1.0)
