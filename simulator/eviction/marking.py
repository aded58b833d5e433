"""The marking algorithm: phases in which what has been used is not evicted."""

from simulator.view import View


class Marking:
    """Mark what is used; evict an unmarked key at random; where none is left, unmark all: a new phase.

    Source: A. Fiat, R. M. Karp, M. Luby, L. A. McGeoch, D. D. Sleator, N. E. Young: "Competitive paging algorithms",
    Journal of Algorithms 12(4), 1991.

    Limits: a phase also ends where the only unmarked keys are held. An insertion marks, a prefetch's as well.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._random = view.random()
        self._draw = self._random.random()  # for the next eviction: asking for a victim changes nothing
        self._is_marked: dict[int, bool] = {}  # in the order of insertion

    def touch(self, key: int) -> None:
        """Mark the key."""
        self._is_marked[key] = True

    def insert(self, key: int) -> None:
        """Add the key, marked."""
        self._is_marked[key] = True

    def remove(self, key: int) -> None:
        """Drop the key; that a marked one goes begins a phase."""
        if self._is_marked.pop(key):
            self._is_marked = dict.fromkeys(self._is_marked, False)
        self._draw = self._random.random()

    def victim(self) -> int | None:
        """Return an unmarked key drawn at random."""
        held = self._view.held
        free = [key for key in self._is_marked if key not in held]
        candidates = self.preferred([key for key in free if not self._is_marked[key]] or free)
        return candidates[int(self._draw * len(candidates))] if candidates else None

    def preferred(self, candidates: list[int]) -> list[int]:
        """Return those among which chance decides: here all."""
        return candidates
