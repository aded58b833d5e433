"""The host-to-device link: one transfer at a time, demand before prefetch, first come first served within a class.

A transfer in flight is never aborted. With a chunk size, a prefetch in flight gives way to a demand fetch at its next
chunk boundary and resumes, ahead of other prefetches, when no demand is queued. At one instant, transfers that end
are delivered first, then decisions are taken, then the link picks what it serves next: so a prefetch that starts at the
very instant at which a demand arrives gives way to it.

Limits: one stream of copies; no contention with other traffic (for that, see simulator/resources/shared_link.py); latency
is paid once per transfer, also when it is interrupted.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import simpy
from simpy.events import URGENT

from simulator.resources.clock import Clock
from simulator.resources.transfers import Stretch, Transfer, TransferQueue

Deliver = Callable[[Transfer], None]


class Completion(simpy.Event):
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
    duration of the whole; one entry means no chunks. Where transfers differ in size, `chunk_ends_of` gives the same by key
    and `chunk_ends_ns` says nothing; it is asked whenever a service begins. `deliver` is called when a transfer has ended.
    `on_service`, if given, is called with (transfer, start_ns, end_ns) for each stretch of service; with
    `keeps_stretches` the transfer keeps them as well.
    """

    def __init__(
        self,
        env: Clock,
        *,
        chunk_ends_ns: Sequence[int] = (),
        chunk_ends_of: Callable[[int], Sequence[int]] | None = None,
        deliver: Deliver,
        on_service: Callable[[Transfer, int, int], None] | None = None,
        keeps_stretches: bool = False,
    ) -> None:
        if chunk_ends_of is None and (not chunk_ends_ns or chunk_ends_ns[0] < 0):
            raise ValueError(f"chunk_ends_ns is {chunk_ends_ns}; it should name one duration or more")
        self._env = env
        self._chunk_ends_of = chunk_ends_of
        self._chunk_ends_ns = chunk_ends_ns  # of the transfer in service
        self._transfer_ns = chunk_ends_ns[-1] if chunk_ends_ns else 0
        self._keeps_stretches = keeps_stretches
        self.deliver = deliver
        self._on_service = on_service
        self._queue = TransferQueue()
        self._busy_ns = 0
        self.end_of_service: simpy.Event | None = None
        self._cut_ns: int | None = None  # up to where the transfer in service is served, if it is to give way

    @property
    def serving(self) -> Transfer | None:
        """The transfer in service."""
        return self._queue.serving

    def demand(self, key: int) -> None:
        """Queue a demand fetch."""
        queue = self._queue
        transfer = queue.demand(key)
        serving = queue.serving
        if serving is transfer:
            self._serve(transfer)
        elif serving is not None and not serving.is_demanded:
            self._make_way()

    def prefetch(self, key: int) -> None:
        """Queue a prefetch behind all demands and the prefetches before it."""
        queue = self._queue
        transfer = queue.prefetch(key)
        if queue.serving is transfer:
            self._serve(transfer)

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key` a demand: if it is queued, it joins the demands.

        Does nothing if the transfer is a demand already.
        """
        transfer = self._queue.promote(key)
        if transfer is None:
            return
        if transfer is not self._queue.serving:
            self._make_way()
        elif self._cut_ns is not None:
            # A demand had it give way at its next boundary, but it is a demand itself now, and in service: it goes on.
            self._cut_ns = None
            self._aim(transfer, self._transfer_ns)

    def cancel(self, key: int) -> Transfer | None:
        """Take the prefetch of `key` out of the queue and return it; None if no prefetch waits for `key`.

        What is in service is never cancelled, nor what a gate has asked for. A prefetch that has given way can be: its
        `served_ns` says for how long the link has served it in vain.
        """
        return self._queue.cancel(key)

    def queued_prefetches(self) -> list[int]:
        """Return the keys of the prefetches that wait and that no gate has asked for, in the order of their turns."""
        return self._queue.queued_prefetches()

    def is_under_way(self) -> bool:
        """Tell whether a service goes on that has begun before this instant.

        Where copies are from pageable memory, the thread that launches kernels is inside such a copy: it gives the GPU
        nothing to do before `end_of_service`. A copy of this instant begins when the thread has launched what it can.
        Source: CUDA Driver API, "API synchronization behavior".
        """
        serving = self._queue.serving
        return serving is not None and serving.started_ns < self._env.now

    def num_queued(self) -> int:
        """Count the transfers that wait."""
        return self._queue.num_queued()

    def busy_ns(self) -> int:
        """Return the time for which the link has been serving, up to now."""
        serving = self._queue.serving
        return self._busy_ns + (self._env.now - serving.started_ns if serving is not None else 0)

    def _make_way(self) -> None:
        """Have a prefetch in service give way to a demand at its next boundary."""
        if self._cut_ns is not None or not self._queue.must_give_way():
            return
        serving = self._queue.serving
        assert serving is not None
        served_ns = self._served_ns(serving)
        boundary_ns = next((end for end in (0, *self._chunk_ends_ns[:-1]) if end >= served_ns), None)
        if boundary_ns is None:
            return
        self._cut_ns = boundary_ns
        if boundary_ns == served_ns:  # it stands at a boundary now: it gives way at once
            self._end_service()
        else:
            self._aim(serving, boundary_ns)

    def _serve(self, transfer: Transfer) -> None:
        """Begin a stretch of service of the transfer that the queue has put in service."""
        transfer.started_ns = self._env.now
        self._cut_ns = None
        if self._chunk_ends_of is not None:
            self._chunk_ends_ns = self._chunk_ends_of(transfer.key)
            self._transfer_ns = self._chunk_ends_ns[-1]
        self.end_of_service = Completion(self._env, self._transfer_ns - transfer.served_ns, self._complete)

    def _served_ns(self, serving: Transfer) -> int | Fraction:
        """Return what the transfer in service has been served up to now, as time at full speed."""
        return serving.served_ns + self._env.now - serving.started_ns

    def _aim(self, serving: Transfer, served_ns: int) -> None:
        """Have the transfer in service served up to there in this stretch."""
        delay_ns = serving.started_ns + served_ns - serving.served_ns - self._env.now
        self.end_of_service = Completion(self._env, delay_ns, self._complete)

    def _complete(self, event: simpy.Event) -> None:
        if event is self.end_of_service:  # else the end of a service that gave way before it
            self._end_service()

    def _end_service(self) -> None:
        """Deliver the transfer in service, or put it back if it gives way; before that, serve the next."""
        queue = self._queue
        transfer = queue.serving
        assert transfer is not None
        now, started_ns, cut_ns = self._env.now, transfer.started_ns, self._cut_ns
        self._busy_ns += now - started_ns
        if self._on_service is not None and now > started_ns:
            self._on_service(transfer, started_ns, now)
        if self._keeps_stretches and now > started_ns:
            served_ns = (self._transfer_ns if cut_ns is None else cut_ns) - transfer.served_ns
            if transfer.stretches is None:
                transfer.stretches = []
            transfer.stretches.append(Stretch(started_ns, now, served_ns))
        following: Transfer | None
        if cut_ns is not None:
            transfer.served_ns = cut_ns
            following = queue.give_way()
        else:
            following = queue.finish()
        if following is not None:
            self._serve(following)
        else:
            self.end_of_service = None
        if cut_ns is None:
            self.deliver(transfer)
