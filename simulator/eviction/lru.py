"""Least recently used."""

from simulator.eviction.fifo import FIFO


class LRU(FIFO):
    """Evict the key that was least recently touched or inserted: a queue in which a touch moves the key to the end."""

    def touch(self, key: int) -> None:
        """Move the key to the end."""
        self._order.move_to_end(key)
