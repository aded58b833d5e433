"""A link whose copies draw on host memory together with whatever else does: slowed down, they end later.

What is served is counted as work, in the time that it takes at full speed; so a chunk ends when its work is done, and a
prefetch gives way there. Where memory is never short, all is as on a link by itself.

Limits: those of simulator/resources/link.py and host_memory.py; an interruption wastes the rest of its last nanosecond.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import simpy
from simpy.events import URGENT

from simulator.resources.clock import Clock
from simulator.resources.host_memory import Flow, HostMemory
from simulator.resources.link import Deliver, Link
from simulator.resources.transfers import Transfer


class SharedLink(Link):
    """A serial server of transfers that are flows of `memory`, of rank `rank`.

    `demand_of` gives what the transfer of a key draws on memory at full speed, in bytes/s. All else is as in `Link`.
    """

    def __init__(
        self,
        env: Clock,
        *,
        memory: HostMemory,
        rank: int,
        demand_of: Callable[[int], int],
        chunk_ends_ns: Sequence[int] = (),
        chunk_ends_of: Callable[[int], Sequence[int]] | None = None,
        deliver: Deliver,
        on_service: Callable[[Transfer, int, int], None] | None = None,
        keeps_stretches: bool = False,
    ) -> None:
        super().__init__(
            env,
            chunk_ends_ns=chunk_ends_ns,
            chunk_ends_of=chunk_ends_of,
            deliver=deliver,
            on_service=on_service,
            keeps_stretches=keeps_stretches,
        )
        self._memory = memory
        self._rank = rank
        self._demand_of = demand_of
        self._flow: Flow | None = None

    def _serve(self, transfer: Transfer) -> None:
        """Begin a stretch of service as a flow; `end_of_service` is an event that comes when it has ended."""
        transfer.started_ns = self._env.now
        self._cut_ns = None
        if self._chunk_ends_of is not None:
            self._chunk_ends_ns = self._chunk_ends_of(transfer.key)
            self._transfer_ns = self._chunk_ends_ns[-1]
        self.end_of_service = simpy.Event(self._env)
        left_ns = self._transfer_ns - transfer.served_ns
        self._flow = self._memory.start(self._rank, self._demand_of(transfer.key), left_ns, self._flow_ended)

    def _served_ns(self, serving: Transfer) -> Fraction:
        assert self._flow is not None
        return serving.served_ns + self._memory.served_ns(self._flow)

    def _aim(self, serving: Transfer, served_ns: int) -> None:
        assert self._flow is not None
        self._memory.aim(self._flow, served_ns - serving.served_ns)

    def _flow_ended(self) -> None:
        self._flow = None
        self._end_service()

    def _end_service(self) -> None:
        flow, ended = self._flow, self.end_of_service
        assert ended is not None
        if flow is not None:  # it gives way at once
            self._flow = None
            self._memory.stop(flow)
        super()._end_service()
        ended._ok, ended._value = True, None
        self._env.schedule(ended, URGENT)
