"""Which resident expert stands in for one that is missing, where a policy leaves the choice to statistics of the layer."""

from collections.abc import Collection, Iterable

from simulator.miss.co_activation import co_activation
from simulator.view import View

MEASURES = ("popularity", "co_activation")


class Alternatives:
    """Rank a layer's resident experts as stand-ins for a missing one.

    By `popularity`: those to which most tokens are routed come first, and nothing is known of likeness. By
    `co_activation`: those that serve most tokens together with the missing one (in the view's training) come first, ties
    to the more popular. Ties that are left go to the lowest key.

    Raises ValueError for another measure.
    """

    def __init__(self, view: View, *, by: str) -> None:
        if by not in MEASURES:
            raise ValueError(f"by is {by!r}; it should be one of {', '.join(MEASURES)}")
        self._view = view
        self._popularity = view.popularity()
        self._together = co_activation(view.training) if by == "co_activation" else None
        self._ranked: dict[tuple[int, int], list[int]] = {}  # (layer, wanted): the layer's keys, best first

    def best(self, wanted: int, *, layer: int, used: Collection[int]) -> int | None:
        """Return the best resident expert of a layer that is not among those `used` by the token; None if there is none."""
        is_resident = self._view.is_resident
        return next((key for key in self._rank(layer, wanted) if key not in used and is_resident(key)), None)

    def similarity(self, wanted: int, substitute: int, *, layer: int) -> float:
        """Return how often two experts serve a token together, as a share of how often the wanted one's best partner does.

        0 by popularity, which says nothing of likeness.
        """
        if wanted == substitute:
            return 1.0
        if self._together is None:
            return 0.0
        first_key = self._view.first_key(layer)
        row = self._together[layer, wanted - first_key]
        most = int(row.max())
        return int(row[substitute - first_key]) / most if most else 0.0

    def _rank(self, layer: int, wanted: int) -> Iterable[int]:
        """Return the layer's other experts, best first, worked out once for each."""
        at = (layer, wanted) if self._together is not None else (layer, -1)
        if at not in self._ranked:
            first_key = self._view.first_key(layer)
            together = None if self._together is None else self._together[layer, wanted - first_key]

            def rank(key: int) -> tuple[int, int, int]:
                return (0 if together is None else -int(together[key - first_key]), -int(self._popularity[key]), key)

            self._ranked[at] = sorted(range(first_key, first_key + self._view.num_experts), key=rank)
        return self._ranked[at]
