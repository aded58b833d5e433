"""Experts that are evicted and copied back to host memory over the device-to-host link.

First come first served, one at a time, on a link of its own: the two directions of PCIe do not slow each other, but both
draw on host memory, where that is shared.

Source: mixtral-offloading (arXiv 2312.17238), `_swap` in its expert_cache.py, which copies the evicted expert to the host
while the new one comes in, through buffers on the GPU; PCI Express is full duplex.

Limits: the slot of an evicted expert is free at once, as if a buffer on the GPU held what is still to be copied back:
nobody waits for a free buffer, however many copies back are queued. The expert can be fetched again before it is back, as
the host has kept its weights. What is queued at the end of a run is not waited for.
"""

from collections.abc import Callable

from simulator.resources.clock import Clock
from simulator.resources.host_memory import HostMemory
from simulator.resources.link import Link
from simulator.resources.shared_link import SharedLink
from simulator.resources.transfers import Transfer


class WriteBack:
    """A serial server of copies that take `transfer_ns` each by themselves and move `num_bytes`.

    With `memory`, each is a flow of rank `rank` and draws `demand` bytes/s at full speed. `on_service`, if given, is called
    with (transfer, start_ns, end_ns) for each copy; `on_copied` with the key when it has ended.
    """

    def __init__(
        self,
        env: Clock,
        *,
        transfer_ns: int,
        num_bytes: int,
        memory: HostMemory | None = None,
        rank: int = 0,
        demand: int = 1,
        on_service: Callable[[Transfer, int, int], None] | None = None,
        on_copied: Callable[[int], None] | None = None,
    ) -> None:
        self._num_bytes = num_bytes
        self._on_copied = on_copied
        self.num_copied = 0
        """Copies that have ended."""
        if memory is None:
            self.link = Link(env, chunk_ends_ns=(transfer_ns,), deliver=self._copied, on_service=on_service)
        else:
            self.link = SharedLink(
                env,
                memory=memory,
                rank=rank,
                demand_of=lambda _: demand,
                chunk_ends_ns=(transfer_ns,),
                deliver=self._copied,
                on_service=on_service,
            )

    def evict(self, key: int) -> None:
        """Queue the copy of an expert that is evicted now."""
        self.link.demand(key)

    @property
    def bytes_copied(self) -> int:
        """The bytes of the copies that have ended."""
        return self.num_copied * self._num_bytes

    def busy_ns(self) -> int:
        """Return the time for which the link has been serving, up to now."""
        return self.link.busy_ns()

    def num_queued(self) -> int:
        """Count the copies that wait."""
        return self.link.num_queued()

    def _copied(self, transfer: Transfer) -> None:
        self.num_copied += 1
        if self._on_copied is not None:
            self._on_copied(transfer.key)
