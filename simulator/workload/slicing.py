"""A part of a workload: between two times, or the first so many."""

from collections.abc import Iterator
from dataclasses import replace

from simulator.workload.arrivals import Arrival, OpenWorkload


class Sliced:
    """Requests from `start_ns` on and before `stop_ns`, at most `max_requests`; times begin anew at the start."""

    def __init__(
        self,
        workload: OpenWorkload,
        *,
        start_ns: int = 0,
        stop_ns: int | None = None,
        max_requests: int | None = None,
    ) -> None:
        if start_ns < 0 or (stop_ns is not None and stop_ns <= start_ns):
            raise ValueError(f"start is {start_ns} ns and stop {stop_ns} ns; they should ascend, from 0")
        if max_requests is not None and max_requests < 1:
            raise ValueError(f"max_requests is {max_requests}; it should be 1 or more")
        self._workload = workload
        self._start_ns, self._stop_ns, self._max_requests = start_ns, stop_ns, max_requests

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests of the part, and look no further than its end."""
        left = self._max_requests
        for arrival in self._workload.arrivals(seed):
            if self._stop_ns is not None and arrival.arrival_ns >= self._stop_ns:
                return
            if arrival.arrival_ns < self._start_ns:
                continue
            yield replace(arrival, arrival_ns=arrival.arrival_ns - self._start_ns) if self._start_ns else arrival
            if left is not None:
                left -= 1
                if not left:
                    return
