"""Least recently used."""

from collections import OrderedDict

from simulator.view import View


class LRU:
    """Evict the key that was least recently touched or inserted."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._order: OrderedDict[int, None] = OrderedDict()  # oldest first

    def touch(self, key: int) -> None:
        """Move the key to the recent end."""
        self._order.move_to_end(key)

    def insert(self, key: int) -> None:
        """Put the key at the recent end."""
        self._order[key] = None

    def remove(self, key: int) -> None:
        """Drop the key."""
        del self._order[key]

    def victim(self) -> int | None:
        """Return the oldest key that is not held."""
        held = self._view.held
        for key in self._order:
            if key not in held:
                return key
        return None
