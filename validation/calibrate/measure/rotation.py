"""Which experts of a layer come next, so that all take turns: an LRU cache of some of them, foreseen."""

from collections import deque


class Rotation:
    """`num_resident` of the experts 0 .. `num_experts` - 1 are in an LRU cache of that many slots, 0 used longest ago."""

    def __init__(self, num_experts: int, *, num_resident: int) -> None:
        assert 0 < num_resident <= num_experts
        self._resident = deque(range(num_resident))
        self._absent = deque(range(num_resident, num_experts))

    def hits(self, count: int) -> list[int]:
        """Return the residents that were used longest ago; they are used now, in this order."""
        picked = [self._resident.popleft() for _ in range(count)]
        self._resident.extend(picked)
        return picked

    def misses(self, count: int) -> list[int]:
        """Return the absent experts that were used longest ago; they take the places of as many residents.

        Where too few are absent, the residents that were used last make up the number, and come first.
        """
        num_missing = min(count, len(self._absent))
        kept = [self._resident.pop() for _ in range(count - num_missing)]
        fetched = [self._absent.popleft() for _ in range(num_missing)]
        self._absent.extend(self._resident.popleft() for _ in range(num_missing))
        self._resident.extend(kept + fetched)
        return kept + fetched

    def passed_over(self, count: int) -> list[int]:
        """Return up to `count` of the absent experts that were used longest ago; they are used now, and stay absent."""
        picked = [self._absent.popleft() for _ in range(min(count, len(self._absent)))]
        self._absent.extend(picked)
        return picked
