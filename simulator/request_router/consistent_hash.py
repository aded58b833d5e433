"""Alike requests to the same replica."""

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache

from simulator.request_router.bounded_load import BoundedLoad
from simulator.request_router.protocol import Asked, Replicas, num_requests


class ConsistentHash:
    """Send requests of one label, `by` category, session or class, to one replica, and to its next where that is overloaded.

    Each label has its own order of the replicas, by a hash of both; the first that has no more than `load_factor` times the
    mean number of requests gets the request. So alike requests find the experts that those before them have brought, and
    the router needs to know nothing of caches. Without a label, the least loaded gets it, ties to the lowest.

    Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", arXiv 1608.01350; the order by
    highest hash is that of Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions
    on Networking 6 (1998).

    Limits: labels are taken as known at arrival; a category of a real request would have to be told or guessed.
    """

    def __init__(self, replicas: Replicas, *, by: str = "category", load_factor: float = 1.25) -> None:
        labels: Mapping[str, Callable[[Asked], object]] = {
            "category": lambda request: request.category,
            "session": lambda request: request.session,
            "class": lambda request: request.class_name,
        }
        if by not in labels:
            raise ValueError(f"by is {by!r}; it should be one of {', '.join(labels)}")
        self._label = labels[by]
        self._replicas = replicas
        self._bound = BoundedLoad(load_factor)

    def choose(self, request: Asked) -> int:
        """Return the first in the label's order that has room."""
        loads, label = num_requests(self._replicas), self._label(request)
        with_room = self._bound.with_room(loads)
        if label is None:
            return min(with_room, key=loads.__getitem__)
        return max(with_room, key=lambda replica: _hash(f"{label}/{replica}"))


@lru_cache(maxsize=1 << 16)
def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
