"""Where an expert is copied from: host memory, or another GPU that has it.

    a copy begins at GPU g
    holder = the first other GPU on which the expert is resident
    from the host:  its own time * max(1, demand * flows / upstream), with the flows from the host under way, and this one
    from the holder: latency + bytes / bandwidth of the machine's peers
    the faster of the two; the host at a tie

Source: ours. That weights come faster from a neighbour than from the host: any NVLink beside PCIe.

Limits: a GPU takes in one expert at a time, from wherever; what a holder sends costs it nothing, and its slot is not kept
for the sake of the copy; the estimate counts what is under way now, not what queues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.cache import RESIDENT, ExpertCache
from simulator.resources.link import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """What all GPUs share on the way from host memory, and what the copy of an expert wants of it by itself, in bytes/s."""

    bandwidth: int
    demand: int


class Sources:
    """Choose the source of each copy to one GPU, once, when its service begins.

    `host_ends_ns` and `peer_ends_ns` say how long a copy takes up to the end of each chunk. `flows` counts the copies from
    the host to other GPUs that are under way.
    """

    def __init__(
        self,
        *,
        host_ends_ns: Sequence[int],
        peer_ends_ns: Sequence[int],
        upstream: Upstream | None,
        peers: Callable[[], Sequence[ExpertCache]],
        flows: Callable[[], int],
    ) -> None:
        self._host_ends_ns = host_ends_ns
        self._peer_ends_ns = peer_ends_ns
        self._upstream = upstream
        self._peers = peers
        self._flows = flows
        self._from_peer: set[int] = set()
        self.link: Link | None = None

    def chunk_ends_ns(self, key: int) -> Sequence[int]:
        """Return the times of a copy whose service begins, or goes on."""
        assert self.link is not None
        transfer = self.link.serving
        if transfer is None or transfer.served_ns == 0:
            self._from_peer.discard(key)
            if any(cache.state[key] == RESIDENT for cache in self._peers()) and self._peer_is_faster():
                self._from_peer.add(key)
        return self._peer_ends_ns if key in self._from_peer else self._host_ends_ns

    def is_from_peer(self, key: int) -> bool:
        """Tell whether a copy that has begun comes from another GPU."""
        return key in self._from_peer

    def is_host_flow(self) -> bool:
        """Tell whether the host sends to this GPU now."""
        assert self.link is not None
        serving = self.link.serving
        return serving is not None and serving.key not in self._from_peer

    def _peer_is_faster(self) -> bool:
        host_ns, peer_ns = self._host_ends_ns[-1], self._peer_ends_ns[-1]
        if self._upstream is not None:
            wanted = self._upstream.demand * (self._flows() + 1)
            if wanted > self._upstream.bandwidth:
                return peer_ns * self._upstream.bandwidth < host_ns * wanted
        return peer_ns < host_ns
