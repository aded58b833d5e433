"""Evict first what was predicted and then not used."""

from simulator.eviction.lru import LRU
from simulator.view import View


class PredictedUnusedFirst(LRU):
    """Evict keys whose prediction has proved wrong, in the order in which that was found; else the least recently used.

    Predicted for a layer is what was inserted since its last gate other than on demand, that is, prefetched. With
    `distance`, it is also what the gates of the layers before would pick up to so many layers ahead, resident or not.
    The layer's own gate finds out which of that is not used; a touch or a new insertion makes good.

    Source: X. He et al.: "ExpertFlow: optimized expert activation and token allocation for efficient mixture-of-experts
    inference", arXiv 2410.17954, on the real-time correction of its predictive locality-aware expert caching. The rest
    of the order is ours.

    Limits: a pool of one layer does not see the gates of others, and knows predictions by what is prefetched alone.
    """

    def __init__(self, view: View, *, distance: int = 0) -> None:
        if distance < 0:
            raise ValueError(f"distance is {distance}; it should be 0 (prefetches alone) or more layers")
        super().__init__(view)
        if distance:
            view.require_lookahead(distance)
        self._distances = range(1, distance + 1)
        self._predicted: dict[int, dict[int, None]] = {}  # by bank
        self._unused: dict[int, None] = {}
        self._picked: set[int] = set()
        self._picked_at = -1

    def at_gate(self) -> None:
        """Correct what was predicted for this layer, and note what is predicted for those ahead."""
        view = self._view
        self._picked = {key for token in view.picks() for key in token}
        self._picked_at = view.visit
        bank = view.first_key(view.visit % view.num_layers) // view.num_experts
        for key in self._predicted.pop(bank, ()):
            if key not in self._picked and key in self._order:
                self._unused.setdefault(key)
        for distance in self._distances:
            for token in view.lookahead(distance):
                for key in token:
                    self._predict(key)

    def touch(self, key: int) -> None:
        """Make the key the most recent; it is used."""
        super().touch(key)
        self._unused.pop(key, None)

    def insert(self, key: int) -> None:
        """Add the key as the most recent; it is predicted unless the current gate has picked it."""
        super().insert(key)
        if self._picked_at != self._view.visit or key not in self._picked:
            self._predict(key)

    def remove(self, key: int) -> None:
        """Drop the key."""
        super().remove(key)
        self._unused.pop(key, None)

    def victim(self) -> int | None:
        """Return the first key that was predicted in vain, else the least recently used."""
        held = self._view.held
        for key in self._unused:
            if key not in held:
                return key
        return super().victim()

    def _predict(self, key: int) -> None:
        expert = key % self._view.num_keys
        self._predicted.setdefault(expert // self._view.num_experts, {})[key] = None
        self._unused.pop(key, None)
