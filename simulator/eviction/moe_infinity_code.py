"""Fewest visits while on the GPU, as the released code of MoE-Infinity counts them."""

import numpy as np

from simulator.eviction.scored import Keys, Scored, Scores
from simulator.view import View


class MoEInfinityCode(Scored):
    """Evict the key with the fewest visits, ties to the lowest key.

    A visit is an insertion or a touch. Unlike `lfu`, an expert keeps its count when it is evicted, and with `cleared`
    all counts are set to 0 when a prefill has ended and decoding begins.

    Source: https://github.com/TorchMoE/MoE-Infinity, `core/parallel/expert_dispatcher.cpp` (the least `incache_visit_count`
    of all layers) and its examples, which clear the counts after the first token. That a count outlives an eviction, and
    that the visit which fetches the expert counts, is UNVERIFIED. The code walks a hash table; the lowest key is ours.
    """

    def __init__(self, view: View, *, cleared: bool = True) -> None:
        super().__init__(view)
        self._cleared = cleared
        self._visits: dict[int, int] = {}
        self._after_prefill = False

    def at_gate(self) -> None:
        """Clear the counts at the first gate of decoding after a prefill."""
        is_prefill = self._view.is_prefill
        if self._cleared and self._after_prefill and not is_prefill:
            self._visits.clear()
        self._after_prefill = is_prefill

    def touch(self, key: int) -> None:
        """Count a visit."""
        self._visits[key] = self._visits.get(key, 0) + 1

    def insert(self, key: int) -> None:
        """Count a visit on top of those from before."""
        super().insert(key)
        self.touch(key)

    def scores(self, keys: Keys) -> Scores:
        """Return the numbers of visits."""
        return np.array([self._visits.get(key, 0) for key in keys.tolist()], np.float64)
