"""Host memory as a cache above NVMe, for the reference: lists that are searched from end to end."""

from collections.abc import Callable

from tests.engine.case import Case


class PlainHost:
    """Who has a slot of host memory, and who is in use there. `next_use` gives the visit of a key's next use."""

    def __init__(self, case: Case, next_use: Callable[[int], int]) -> None:
        self.case = case
        self.next_use = next_use
        self.there = set(case.host_warm)
        self.num_accesses = 0
        self.history: dict[int, list[int]] = {}  # of each key with a slot: the numbers of its accesses
        for key in case.host_warm:
            self.access(key)
        self.uses: list[int] = []  # a key for each use
        self.ahead: set[int] = set()  # read ahead, and not asked for since
        self.hits = self.late_hits = self.misses = self.evictions = self.reads_ahead = self.reads_ahead_used = 0

    def access(self, key: int) -> None:
        """Note that a key is asked for, or takes a slot."""
        self.num_accesses += 1
        self.history.setdefault(key, []).append(self.num_accesses)

    def ask(self, key: int, *, is_under_way: bool) -> bool:
        """Tell whether the expert is there for one who wants it."""
        if key in self.ahead:
            self.ahead.remove(key)
            self.reads_ahead_used += 1
        if key in self.history:
            self.access(key)
        if key in self.there:
            self.hits += 1
            return True
        self.late_hits += is_under_way
        self.misses += not is_under_way
        return False

    def take_slot(self, key: int) -> bool:
        """Take a free slot, or the victim's; whoever has one keeps it."""
        if key in self.history:
            return True
        if len(self.history) == self.case.host_slots:
            candidates = [other for other in self.history if other in self.there and other not in self.uses]
            if not candidates:
                return False
            self.lose(min(candidates, key=self.rank))
            self.evictions += 1
        self.access(key)
        return True

    def lose(self, key: int) -> None:
        """Take a slot away."""
        del self.history[key]
        self.there.discard(key)
        self.ahead.discard(key)

    def rank(self, key: int) -> tuple[int, int]:
        """Order keys for eviction: the smallest goes first."""
        history = self.history[key]
        if self.case.host_eviction == "lru":
            return history[-1], 0
        if self.case.host_eviction == "fifo":
            return history[0], 0
        if self.case.host_eviction == "lfu":
            return len(history), history[-1]
        assert self.case.host_eviction == "belady"
        return -self.next_use(key), key
