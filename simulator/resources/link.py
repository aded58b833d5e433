"""The host-to-device link: one transfer at a time, demand before prefetch, first come first served within a class.

A transfer in flight is never aborted. With a chunk size, a prefetch in flight gives way to a demand fetch at its next
chunk boundary and resumes, ahead of other prefetches, when no demand is queued. At one instant, transfers that end
are delivered first, then decisions are taken, then the link picks what it serves next: so a prefetch that starts at the
very instant at which a demand arrives gives way to it.

Limits: one stream of copies; no contention with other traffic (CPU kernels, the other direction); every expert has the
same size; latency is paid once per transfer, also when it is interrupted.
"""

from collections import deque
from collections.abc import Callable, Sequence

import simpy
from simpy.events import URGENT

from simulator.resources.clock import Clock

Deliver = Callable[["Transfer"], None]


class Transfer:
    """One expert on its way: `is_prefetch` says why it was issued, `is_demanded` whether a gate has asked for it."""

    __slots__ = ("is_demanded", "is_prefetch", "key", "served_ns", "started_ns")

    def __init__(self, key: int, is_prefetch: bool) -> None:
        self.key = key
        self.is_prefetch = is_prefetch
        self.is_demanded = not is_prefetch
        self.served_ns = 0
        self.started_ns = 0


class _Completion(simpy.Event):
    """A timeout that is processed before all ordinary events of its instant."""

    def __init__(self, env: Clock, delay_ns: int, callback: Callable[[simpy.Event], None]) -> None:
        self.env = env
        self.callbacks = [callback]
        self._value = None
        self._ok = True
        self._defused = False
        env.schedule(self, URGENT, delay_ns)


class Link:
    """A serial server of transfers.

    `chunk_ends_ns` gives the duration of a transfer up to the end of each of its chunks, so its last entry is the
    duration of the whole; one entry means no chunks. `deliver` is called when a transfer has ended. `on_service`, if
    given, is called with (transfer, start_ns, end_ns) for each stretch of service.
    """

    def __init__(
        self,
        env: Clock,
        *,
        chunk_ends_ns: Sequence[int],
        deliver: Deliver,
        on_service: Callable[[Transfer, int, int], None] | None = None,
    ) -> None:
        if not chunk_ends_ns or chunk_ends_ns[0] < 0:
            raise ValueError(f"chunk_ends_ns is {chunk_ends_ns}; it should name one duration or more")
        self._env = env
        self._chunk_ends_ns = tuple(chunk_ends_ns)
        self._transfer_ns = chunk_ends_ns[-1]
        self._deliver = deliver
        self._on_service = on_service
        self._demands: deque[Transfer] = deque()
        self._prefetches: deque[Transfer] = deque()
        self._prefetch_of_key: dict[int, Transfer] = {}
        self._busy_ns = 0
        self.serving: Transfer | None = None
        self.end_of_service: simpy.Event | None = None
        self._is_cut = False

    def demand(self, key: int) -> None:
        """Queue a demand fetch."""
        transfer = Transfer(key, False)
        if self.serving is None:
            self._serve(transfer)
        else:
            self._demands.append(transfer)
            self._make_way()

    def prefetch(self, key: int) -> None:
        """Queue a prefetch behind all demands and the prefetches before it."""
        self._prefetch_of_key[key] = transfer = Transfer(key, True)
        if self.serving is None:
            self._serve(transfer)
        else:
            self._prefetches.append(transfer)

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key` a demand: if it is queued, it joins the demands.

        Does nothing if the transfer is a demand already.
        """
        transfer = self._prefetch_of_key.get(key)
        if transfer is None or transfer.is_demanded:
            return
        transfer.is_demanded = True
        if transfer is not self.serving:
            self._prefetches.remove(transfer)
            self._demands.append(transfer)
            self._make_way()
        elif self._is_cut:
            # A demand had it give way at its next boundary, but it is a demand itself now, and in service: it goes on.
            self._is_cut = False
            self._schedule_end(transfer.started_ns + self._transfer_ns - transfer.served_ns)

    def num_queued(self) -> int:
        """Count the transfers that wait."""
        return len(self._demands) + len(self._prefetches)

    def busy_ns(self) -> int:
        """Return the time for which the link has been serving, up to now."""
        return self._busy_ns + (self._env.now - self.serving.started_ns if self.serving is not None else 0)

    def _make_way(self) -> None:
        """Have a prefetch in service give way to a demand at its next boundary."""
        serving = self.serving
        if serving is None or serving.is_demanded or self._is_cut:
            return
        served_ns = serving.served_ns + self._env.now - serving.started_ns
        boundary_ns = next((end for end in (0, *self._chunk_ends_ns[:-1]) if end >= served_ns), None)
        if boundary_ns == served_ns:  # it stands at a boundary now: it gives way at once
            self._is_cut = True
            self._end_service()
        elif boundary_ns is not None:
            self._is_cut = True
            self._schedule_end(serving.started_ns + boundary_ns - serving.served_ns)

    def _serve_next(self) -> None:
        if self._demands:
            self._serve(self._demands.popleft())
        elif self._prefetches:
            self._serve(self._prefetches.popleft())
        else:
            self.end_of_service = None

    def _serve(self, transfer: Transfer) -> None:
        transfer.started_ns = self._env.now
        self.serving = transfer
        self._is_cut = False
        self.end_of_service = _Completion(self._env, self._transfer_ns - transfer.served_ns, self._complete)

    def _schedule_end(self, at_ns: int) -> None:
        self.end_of_service = _Completion(self._env, at_ns - self._env.now, self._complete)

    def _complete(self, event: simpy.Event) -> None:
        if event is self.end_of_service:  # else the end of a service that gave way before it
            self._end_service()

    def _end_service(self) -> None:
        """Deliver the transfer in service, or put it back if it gives way; then serve the next."""
        transfer = self.serving
        assert transfer is not None
        now, started_ns = self._env.now, transfer.started_ns
        self._busy_ns += now - started_ns
        self.serving = None
        if self._on_service is not None and now > started_ns:
            self._on_service(transfer, started_ns, now)
        if self._is_cut:
            transfer.served_ns += now - started_ns
            self._prefetches.appendleft(transfer)
        else:
            if transfer.is_prefetch:
                del self._prefetch_of_key[transfer.key]
            self._deliver(transfer)
        self._serve_next()
