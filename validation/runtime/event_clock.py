"""Host times of a GPU's events.

A GPU tells how far apart two of its events are, in milliseconds as a float32. A base event whose host time is known gives
the host times of others. The float is exact to about a microsecond up to 16 s, and the two clocks drift apart by some
microseconds a second: so the base is renewed often, and each event is measured from the base nearest to it.

Limits: a base is known to half the time that it takes to record an event and see it happen, some microseconds.
"""

from bisect import bisect_left
from collections.abc import Callable

import torch

RENEW_NS = 250_000_000
_NUM_TRIES = 3


class EventClock:
    """Gives events that were recorded on any stream of one device their times on the host's clock.

    `make_event` returns an event with timing enabled, `record` records it on a stream that is idle, `now_ns` is the host's
    clock.
    """

    def __init__(
        self,
        *,
        make_event: Callable[[], torch.cuda.Event],
        record: Callable[[torch.cuda.Event], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._make_event = make_event
        self._record = record
        self._now_ns = now_ns
        self._base_ns: list[int] = []
        self._bases: list[torch.cuda.Event] = []
        self.renew()

    def renew(self) -> None:
        """Record a base: of a few tries, the one whose time is known best."""
        tries: list[tuple[int, int, torch.cuda.Event]] = []
        for _ in range(_NUM_TRIES):
            event = self._make_event()
            before_ns = self._now_ns()
            self._record(event)
            event.synchronize()
            after_ns = self._now_ns()
            tries.append((after_ns - before_ns, (before_ns + after_ns) // 2, event))
        _, at_ns, event = min(tries, key=lambda tried: tried[0])
        self._base_ns.append(at_ns)
        self._bases.append(event)

    def keep_near(self) -> None:
        """Renew the base if it has become old; to be called where an event is recorded."""
        if self._now_ns() - self._base_ns[-1] > RENEW_NS:
            self.renew()

    def time_ns(self, event: torch.cuda.Event) -> int:
        """Return the host's time of an event that has happened."""
        newest = len(self._bases) - 1
        rough_ns = self._measure(newest, event)
        nearest = self._nearest(rough_ns)
        return rough_ns if nearest == newest else self._measure(nearest, event)

    def _measure(self, base: int, event: torch.cuda.Event) -> int:
        elapsed_ms: float = self._bases[base].elapsed_time(event)
        return self._base_ns[base] + round(elapsed_ms * 1e6)

    def _nearest(self, at_ns: int) -> int:
        after = bisect_left(self._base_ns, at_ns)
        if after == len(self._base_ns):
            return after - 1
        if after and at_ns - self._base_ns[after - 1] <= self._base_ns[after] - at_ns:
            return after - 1
        return after
