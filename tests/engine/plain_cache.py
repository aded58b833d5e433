"""The expert cache of the reference: lists that are searched from end to end."""

from collections.abc import Callable, Sequence

from tests.engine.case import Case

NEVER = 10**9


class PlainCache:
    """Who has a slot, and who loses one. `evicted` is called with each key that loses its slot to another."""

    def __init__(self, case: Case, visits: Sequence[Sequence[int]], evicted: Callable[[int], None]) -> None:
        self.case = case
        self.visits = visits  # as recorded, of the whole run
        self.visit = -1
        self.evicted = evicted
        self.resident: set[int] = set()
        self.in_flight: set[int] = set()
        self.pinned: set[int] = set()
        self.history: dict[int, list[int]] = {}  # of each key in a pool: the numbers of its accesses
        self.staged: list[int] = []  # in the order in which they took their slots
        self.num_accesses = 0

    def is_absent(self, key: int) -> bool:
        """Tell whether the key has no slot."""
        return key not in self.resident and key not in self.in_flight

    def pool(self, key: int) -> tuple[int, list[int]]:
        """Return the slots that the key competes for, and the keys that hold one."""
        case = self.case
        is_low = key >= case.num_keys
        slots = case.num_low if is_low else case.num_slots
        holders = [other for other in self.history if (other >= case.num_keys) == is_low]
        if case.scope == "global" or (is_low and slots < case.num_banks):
            return slots, holders
        bank = key % case.num_keys // case.num_experts
        slots = slots // case.num_banks + (1 if bank < slots % case.num_banks else 0)
        return slots, [other for other in holders if other % case.num_keys // case.num_experts == bank]

    def can_go(self, keys: Sequence[int]) -> list[int]:
        """Return those of the keys that may lose their slots."""
        return [key for key in keys if key in self.resident and key not in self.pinned]

    def make_room(self, key: int) -> bool:
        """See that there is a slot in the key's pool, which somebody may lose for it; False if nobody can."""
        slots, holders = self.pool(key)
        if len(holders) < slots:
            return True
        candidates = self.can_go(holders)
        if not candidates:
            return False
        self.lose(min(candidates, key=self.rank))
        return True

    def enter(self, key: int) -> None:
        """Let a key into its pool, for which there is room."""
        self.num_accesses += 1
        self.history[key] = [self.num_accesses]

    def take_slot(self, key: int) -> bool:
        """Take a free slot of the pool, or the victim's."""
        if not self.make_room(key):
            return False
        self.enter(key)
        self.in_flight.add(key)
        return True

    def is_refused(self, key: int) -> bool:
        """Tell whether the pool is full and the policy does not let the key in."""
        slots, holders = self.pool(key)
        if self.case.eviction not in ("picky", "belady_bypass") or len(holders) < slots:
            return False
        if self.case.eviction == "picky":
            return not self.case.admits(key)
        candidates = self.can_go(holders)
        victim = min(candidates, key=self.rank, default=None)
        return victim is None or self.next_use(key) >= self.next_use(victim)

    def stage(self, key: int) -> bool:
        """Take a staging slot: a free one, or that of the first who came and can go."""
        if len(self.staged) == self.case.num_staging:
            candidates = self.can_go(self.staged)
            if not candidates:
                return False
            self.lose(candidates[0])
        self.staged.append(key)
        self.in_flight.add(key)
        return True

    def touch(self, key: int) -> None:
        """Note an access; what is staged goes into its pool, if it is let in and there can be room."""
        if key not in self.staged:
            self.num_accesses += 1
            self.history[key].append(self.num_accesses)
        elif not self.is_refused(key) and self.make_room(key):
            self.staged.remove(key)
            self.enter(key)

    def lose(self, key: int) -> None:
        """Take a slot from a key for another."""
        self.free(key)
        self.evicted(key)

    def free(self, key: int) -> None:
        """Take a slot from a key."""
        self.history.pop(key, None)
        if key in self.staged:
            self.staged.remove(key)
        self.resident.discard(key)
        self.in_flight.discard(key)

    def arrive(self, key: int) -> None:
        """Make a key resident."""
        self.in_flight.discard(key)
        self.resident.add(key)

    def next_use(self, key: int) -> int:
        """Return the visit of the next use of a key, or of the expert that it is a copy of."""
        key %= self.case.num_keys
        later = range(self.visit + 1, len(self.visits))
        return next((visit for visit in later if key in self.visits[visit]), NEVER)

    def rank(self, key: int) -> tuple[int, int]:
        """Order keys for eviction: the smallest goes first."""
        history = self.history[key]
        if self.case.eviction in ("lru", "picky", "generous"):
            return history[-1], 0
        if self.case.eviction in ("fifo", "release"):
            return history[0], 0
        if self.case.eviction == "lfu":
            return len(history), history[-1]
        assert self.case.eviction in ("belady", "belady_bypass")
        return -self.next_use(key), key
