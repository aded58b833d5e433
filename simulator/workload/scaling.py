"""The same requests at another rate: all of them closer together, or some of them left out."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from simulator.workload.arrivals import Arrival, OpenWorkload
from simulator.workload.randomness import stream


class Scaled:
    """All requests, `factor` times as fast: times are divided by it, down to the ns. Order and lengths stay.

    Limits: everything is faster, the course of the day and the pauses within a session too.
    """

    def __init__(self, workload: OpenWorkload, factor: Fraction) -> None:
        if factor <= 0:
            raise ValueError(f"the factor of the rate is {float(factor):g}; it should be above 0")
        self._workload, self._factor = workload, factor

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests."""
        over, under = self._factor.denominator, self._factor.numerator
        for arrival in self._workload.arrivals(seed):
            yield replace(arrival, arrival_ns=arrival.arrival_ns * over // under)


class Thinned:
    """Each request with probability `keep_frac`, by seed, at its own time.

    With one seed, what a smaller share keeps, a larger one keeps too. Thinning makes any traffic more like Poisson.

    Limits: requests of one session are kept or left out one by one.
    """

    def __init__(self, workload: OpenWorkload, keep_frac: float) -> None:
        if not 0 < keep_frac <= 1:
            raise ValueError(f"keep_frac is {keep_frac:g}; it should be above 0 and up to 1")
        self._workload, self._keep_frac = workload, keep_frac

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests that are kept."""
        random = stream(seed, "thinning")
        for arrival in self._workload.arrivals(seed):
            if random.random() < self._keep_frac:
                yield arrival
