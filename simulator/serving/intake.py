"""What a scheduler takes requests from, and the plain case: all that arrive are its own."""

from collections.abc import Callable, Mapping
from typing import Protocol

from simulator.serving.feed import Feed
from simulator.serving.served import Served
from simulator.workload.routing import Rows
from simulator.workload.step import Wait


class Requests(Protocol):
    """Requests of one scheduler, in the order of their arrival, as far as they are known by now."""

    def next_ns(self) -> int | None:
        """Return when the next request arrives, or has arrived; None if none is known to."""

    def take(self) -> Served:
        """Take the next request."""

    def ended(self, request: Served, now_ns: int) -> None:
        """Hear that a request has been answered, or refused."""

    def wait(self) -> Wait | None:
        """Return what to wait for where nothing is left to do; None if nothing more will come."""

    def waited(self, wait: Wait) -> int:
        """Return when a wait ended, which may be before its time."""


class Intake:
    """Make requests of what arrives: numbered in the order of arrival, with a priority and what they are made of.

    `draw` is called with each request as it is taken, and gives what makes its `rows`. `priorities` are by class.
    """

    def __init__(
        self, feed: Feed, *, draw: Callable[[Served], Callable[[], Rows]], priorities: Mapping[str, int]
    ) -> None:
        self.next_ns: Callable[[], int | None] = feed.next_ns  # asked at each step: no call in between
        self._feed = feed
        self._draw = draw
        self._priorities = priorities
        self.num_taken = 0

    def take(self) -> Served:
        """Take the next request."""
        arrival = self._feed.take()
        request = Served(arrival, index=self.num_taken, priority=self._priorities.get(arrival.class_name, 0))
        self.num_taken += 1
        request.take_rows = self._draw(request)
        return request

    def ended(self, request: Served, now_ns: int) -> None:
        """Have its sender go on, if it waits for an answer."""
        self._feed.ended(request.arrival, now_ns)

    def wait(self) -> Wait | None:
        """Wait for the next arrival."""
        next_ns = self._feed.next_ns()
        return None if next_ns is None else Wait(until_ns=next_ns)

    def waited(self, wait: Wait) -> int:
        """Return the time of the arrival: nobody ends a wait before."""
        assert wait.until_ns is not None
        return wait.until_ns
