"""Second chance: first in, first out, but for what was used since the hand last passed."""

from simulator.eviction.ring import Ring
from simulator.view import View


class Clock:
    """Turn a hand over the keys in the order of insertion; one that was touched loses a credit, one without is evicted.

    A touch gives one credit, up to `2**bits - 1`; a key is inserted behind the hand, without credit. The hand moves
    only with an eviction, and passes over what is held.

    Source: F. J. Corbató: "A paging experiment with the Multics system", MIT Project MAC report MAC-M-384, 1968, which
    has one bit. More bits: A. J. Smith: "Sequentiality and prefetching in database systems", ACM TODS 3(3), 1978.
    """

    def __init__(self, view: View, *, bits: int = 1) -> None:
        if not 1 <= bits <= 8:
            raise ValueError(f"bits is {bits}; it should be from 1 to 8")
        self._view = view
        self._ring = Ring(2**bits - 1)

    def touch(self, key: int) -> None:
        """Give the key a credit."""
        self._ring.use(key)

    def insert(self, key: int) -> None:
        """Put the key behind the hand."""
        self._ring.add(key)

    def remove(self, key: int) -> None:
        """Drop the key; if it is the victim, the hand moves to it."""
        held = self._view.held
        found = self._ring.first_without_credit(held)
        if found is not None and found[0] == key:
            self._ring.turn(*found, held)
        self._ring.drop(key)

    def victim(self) -> int | None:
        """Return the first key from the hand on that has no credit left."""
        found = self._ring.first_without_credit(self._view.held)
        return None if found is None else found[0]
