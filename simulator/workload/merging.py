"""Several workloads at once."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace

from simulator.workload.arrivals import Arrival, OpenWorkload
from simulator.workload.randomness import derived_seed


class Merged:
    """The requests of all parts in order of time, those of an earlier part first where times are equal.

    Each part has a seed of its own, so that two alike are not the same. Sessions are renumbered, so that they stay apart.

    Limits: open workloads only.
    """

    def __init__(self, parts: Sequence[OpenWorkload]) -> None:
        if not parts:
            raise ValueError("there is nothing to merge; give at least one workload")
        self._parts = parts

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests."""
        return heapq.merge(
            *(self._part(index, seed) for index in range(len(self._parts))), key=lambda arrival: arrival.arrival_ns
        )

    def _part(self, index: int, seed: int) -> Iterator[Arrival]:
        for arrival in self._parts[index].arrivals(derived_seed(seed, "part", index)):
            if arrival.session is None:
                yield arrival
            else:
                yield replace(arrival, session=arrival.session * len(self._parts) + index)
