"""First in, first out."""

from simulator.view import View


class FIFO:
    """Evict the key that was inserted first; touches change nothing."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._order: dict[int, None] = {}  # first inserted first

    def touch(self, key: int) -> None:
        """Do nothing: only insertion counts."""

    def insert(self, key: int) -> None:
        """Put the key at the end."""
        self._order[key] = None

    def remove(self, key: int) -> None:
        """Drop the key."""
        del self._order[key]

    def victim(self) -> int | None:
        """Return the first key inserted that is not held."""
        held = self._view.held
        for key in self._order:
            if key not in held:
                return key
        return None
