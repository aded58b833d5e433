"""SIEVE: a queue that is never reordered, and a hand that moves from old to new."""

from collections.abc import Sequence

from simulator.view import View


class Sieve:
    """Move a hand from the oldest key to the newest; one that was touched is spared once, the first other is evicted.

    Unlike a clock's, spared keys stay where they are, so that new keys are looked at soon. After the newest the hand
    begins at the oldest again. Held keys are passed over.

    Source: Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson, K. V. Rashmi: "SIEVE is simpler than LRU: an efficient turn-key eviction
    algorithm for web caches", NSDI 2024, algorithm 1.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._order: list[int] = []  # the oldest first
        self._touched: set[int] = set()
        self._hand: int | None = None  # a key; None is the oldest

    def touch(self, key: int) -> None:
        """Spare the key when the hand next comes."""
        self._touched.add(key)

    def insert(self, key: int) -> None:
        """Add the key as the newest."""
        self._order.append(key)

    def remove(self, key: int) -> None:
        """Drop the key; if it is the victim, the hand moves past it."""
        if key == self.victim():
            turn = self._from_hand()
            passed = turn[: turn.index(key)] if key not in self._touched else turn
            self._touched.difference_update(other for other in passed if other not in self._view.held)
            self._hand = key
        at = self._order.index(key)
        if self._hand == key:
            self._hand = self._order[at + 1] if at + 1 < len(self._order) else None
        del self._order[at]
        self._touched.discard(key)

    def victim(self) -> int | None:
        """Return the first key from the hand on that was not touched; if all were, the first that is not held."""
        held, touched = self._view.held, self._touched
        turn = [key for key in self._from_hand() if key not in held]
        return next((key for key in turn if key not in touched), turn[0] if turn else None)

    def _from_hand(self) -> Sequence[int]:
        if self._hand is None:
            return self._order
        at = self._order.index(self._hand)
        return self._order[at:] + self._order[:at]
