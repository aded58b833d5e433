"""What arrives at a service, one request at a time, from a workload that waits for answers or one that does not."""

import heapq
from collections.abc import Iterator
from typing import Protocol

from simulator.workload.arrivals import Arrival, ClosedWorkload, OpenWorkload


class Feed(Protocol):
    """Requests in the order of their arrival, as far as they are known by now."""

    def next_ns(self) -> int | None:
        """Return when the next request arrives; None if none is known to."""

    def take(self) -> Arrival:
        """Take the next request."""

    def ended(self, arrival: Arrival, now_ns: int) -> None:
        """Hear that a request has been answered, or refused."""


class OpenFeed:
    """Requests that arrive whether or not others are answered. Raises ValueError if they go back in time."""

    def __init__(self, workload: OpenWorkload, seed: int) -> None:
        self._arrivals: Iterator[Arrival] = iter(workload.arrivals(seed))
        self._next = next(self._arrivals, None)

    def next_ns(self) -> int | None:
        """Return when the next request arrives."""
        return None if self._next is None else self._next.arrival_ns

    def take(self) -> Arrival:
        """Take the next request."""
        taken = self._next
        assert taken is not None
        self._next = next(self._arrivals, None)
        if self._next is not None and self._next.arrival_ns < taken.arrival_ns:
            raise ValueError(
                f"workload: a request arrives at {self._next.arrival_ns} ns, after one at {taken.arrival_ns}"
            )
        return taken

    def ended(self, arrival: Arrival, now_ns: int) -> None:
        """Nobody waits for it."""


class ClosedFeed:
    """Requests whose senders wait for an answer before they send another."""

    def __init__(self, workload: ClosedWorkload, seed: int) -> None:
        self._workload = workload
        self._num_known = 0
        self._known: list[tuple[int, int, Arrival]] = []
        for arrival in workload.first(seed):
            self._add(arrival)

    def next_ns(self) -> int | None:
        """Return when the next request arrives."""
        return self._known[0][0] if self._known else None

    def take(self) -> Arrival:
        """Take the next request."""
        return heapq.heappop(self._known)[2]

    def ended(self, arrival: Arrival, now_ns: int) -> None:
        """Have its sender go on."""
        following = self._workload.after(arrival, now_ns)
        if following is not None:
            self._add(following)

    def _add(self, arrival: Arrival) -> None:
        self._num_known += 1
        heapq.heappush(self._known, (arrival.arrival_ns, self._num_known, arrival))
