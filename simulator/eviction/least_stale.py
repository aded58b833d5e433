"""Least-Stale: what the current forward pass has not used goes first."""

import numpy as np

from simulator.eviction.lru import LRU
from simulator.eviction.scored import Layers
from simulator.view import View


class LeastStale(LRU):
    """Evict a key that this forward pass has not used before one that it has.

    Of either kind the one whose layer comes again last goes first (a layer that the pass has just left), then the least
    recently used. In a pool of one layer this is LRU.

    Source: D. Hoang, A. Jaiswal, M. Samragh, M. Cho: "SpecMD: a comprehensive study on speculative expert prefetching",
    arXiv 2602.03921, which evicts by staleness in time (passes) and space (layers). Its exact order is UNVERIFIED; the above
    is our reading of its summary. Public re-implementations differ from one another.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._layers = Layers(view)
        self._pass_of_key: dict[int, int] = {}  # in which it was used last

    def touch(self, key: int) -> None:
        """Make the key the most recent, and note the pass."""
        super().touch(key)
        self._pass_of_key[key] = self._view.visit // self._view.num_layers

    def insert(self, key: int) -> None:
        """Add the key, as used in this pass."""
        super().insert(key)
        self._pass_of_key[key] = self._view.visit // self._view.num_layers

    def remove(self, key: int) -> None:
        """Drop the key."""
        super().remove(key)
        del self._pass_of_key[key]

    def victim(self) -> int | None:
        """Return the stalest key that is not held."""
        held = self._view.held
        candidates = [key for key in self._order if key not in held]
        if not candidates:
            return None
        keys = np.array(candidates, np.int64)
        now = self._view.visit // self._view.num_layers
        is_stale = np.array([self._pass_of_key[key] for key in candidates]) != now
        staleness = is_stale * (self._view.num_layers + 1) + self._layers.visits_until(keys)
        return candidates[int(staleness.argmax())]
