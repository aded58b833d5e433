"""Two tiers of recency: what the layers ahead seem to need is evicted last."""

from simulator.eviction.lru import LRU
from simulator.view import View


class LRUTwoTier(LRU):
    """Evict the least recently used key of the low tier; of the high one only if the low one has none that is not held.

    High are the current gate's picks, and what the gates of the next `window` layers would pick from the current state,
    as of the latest gate that the pool was told of. All others are low.

    Source: Shen et al.: "ExpertFlow", arXiv 2510.26730: two LRU tiers; what lies in the look-ahead window or was just
    used is high. A window of 2 was best on an A6000.

    Limits: the window is fixed, where the published one adapts to stalls and to fetches in vain. Predictions are the gates',
    not a random forest's. A pool of one layer never sees a prediction for itself: meant for a global cache.
    """

    def __init__(self, view: View, *, window: int = 2) -> None:
        if window < 1:
            raise ValueError(f"window is {window}; it should be 1 layer or more")
        super().__init__(view)
        view.require_lookahead(window)
        self._window = window
        self._high: set[int] = set()

    def at_gate(self) -> None:
        """Decide who is high."""
        view = self._view
        self._high = {key for token in view.picks() for key in token}
        for distance in range(1, self._window + 1):
            for token in view.lookahead(distance):
                self._high.update(token)

    def victim(self) -> int | None:
        """Return the least recently used key that is low, else that is high."""
        held = self._view.held
        high = None
        for key in self._order:
            if key in held:
                continue
            if key not in self._high:
                return key
            if high is None:
                high = key
        return high
