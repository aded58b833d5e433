"""NVMe storage below host memory: one read at a time, demand before what is read ahead of need.

A server like the link (simulator/resources/link.py), with the same classes, chunks and promotions. Before a read begins it
takes a slot of host memory. Where none can be had the read that is next waits, and NVMe with it; a demand still takes the
place of a read that nobody waits for. It tries again whenever something in host memory is no longer in use, after all that
ends at that instant has ended.

Source: a read's time, latency + bytes / sequential bandwidth, is the linear model of a block device; that a read has its
memory before it begins is how read(2) into a buffer and the page cache work.

Limits: one read at a time, at the bandwidth of a queue that is deep enough, so the latency of one read is not hidden behind
the bytes of another; nothing else uses the device; the file system and page faults cost what is in the latency alone.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import simpy
from simpy.events import URGENT

from simulator.resources.clock import Clock
from simulator.resources.host_memory import HostMemory
from simulator.resources.link import Deliver
from simulator.resources.shared_link import SharedLink
from simulator.resources.transfers import Transfer


class Nvme(SharedLink):
    """A serial server of reads into host memory, flows of `memory` of rank `rank` that draw `demand` bytes/s.

    `take_slot` gives the key a slot of host memory, False if none can be had; it is true of a key that has one. The rank is
    higher than all others', so that what else ends at an instant has ended when the next read is taken up.
    """

    def __init__(
        self,
        env: Clock,
        *,
        memory: HostMemory,
        rank: int,
        demand: int,
        chunk_ends_ns: Sequence[int],
        take_slot: Callable[[int], bool],
        deliver: Deliver,
        on_service: Callable[[Transfer, int, int], None] | None = None,
    ) -> None:
        super().__init__(
            env,
            memory=memory,
            rank=rank,
            demand_of=lambda _: demand,
            chunk_ends_ns=chunk_ends_ns,
            deliver=deliver,
            on_service=on_service,
        )
        self._take_slot = take_slot
        self._waits_for_slot = False  # what is in service does
        self._will_retry = False
        self._is_ending = False
        self._following: Transfer | None = None  # taken up when what has ended is delivered

    def slot_freed(self) -> None:
        """Hear that a slot of host memory may have come free: a read that waits for one tries again, at this instant."""
        if self._waits_for_slot and not self._will_retry:
            self._will_retry = True
            event = simpy.Event(self._env)
            event._ok, event._value = True, None
            event.callbacks.append(self._retry)
            self._env.schedule(event, URGENT)

    def reading(self) -> tuple[Transfer, int, int] | None:
        """Return what is being read now, since when, and the present time; None where nothing is."""
        read, now_ns = self._queue.serving, self._env.now
        return None if read is None or self._waits_for_slot else (read, read.started_ns, now_ns)

    def busy_ns(self) -> int:
        """Return the time for which it has been reading, up to now."""
        return self._busy_ns if self._waits_for_slot else super().busy_ns()

    def _serve(self, transfer: Transfer) -> None:
        if self._is_ending:
            self._following = transfer
        elif self._take_slot(transfer.key):
            super()._serve(transfer)
        else:
            self._waits_for_slot = True
            self._cut_ns = None
            self.end_of_service = simpy.Event(self._env)

    def _retry(self, _: simpy.Event) -> None:
        self._will_retry = False
        transfer, waited = self._queue.serving, self.end_of_service
        if not self._waits_for_slot or transfer is None or not self._take_slot(transfer.key):
            return
        self._waits_for_slot = False
        super()._serve(transfer)
        assert waited is not None
        waited._ok, waited._value = True, None
        self._env.schedule(waited, URGENT)

    def _served_ns(self, serving: Transfer) -> Fraction:
        return Fraction(serving.served_ns) if self._waits_for_slot else super()._served_ns(serving)

    def _end_service(self) -> None:
        serving = self._queue.serving
        assert serving is not None
        if self._waits_for_slot:  # it gives way before it has begun
            self._waits_for_slot = False
            serving.started_ns = self._env.now
        self._is_ending = True
        super()._end_service()
        self._is_ending = False
        following, self._following = self._following, None
        if following is not None:
            self._serve(following)
