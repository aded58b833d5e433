"""Belady's optimal replacement, as an oracle."""

from simulator.view import View


class Belady:
    """Evict the key whose next use lies furthest ahead, in layer visits; never used again first; ties to the lowest key.

    Admission is forced: a missed expert always takes a slot, as a GPU must hold what it computes.

    Source: L. A. Belady: "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2),
    1966.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._oracle = view.oracle
        self._keys: set[int] = set()

    def touch(self, key: int) -> None:
        """Do nothing: only the future counts."""

    def insert(self, key: int) -> None:
        """Add the key."""
        self._keys.add(key)

    def remove(self, key: int) -> None:
        """Drop the key."""
        self._keys.discard(key)

    def victim(self) -> int | None:
        """Return the key that is not held and is used again last."""
        next_visit = self._oracle.next_visit
        candidates = self._keys - self._view.held
        return max(candidates, key=lambda key: (next_visit(key), -key), default=None)
