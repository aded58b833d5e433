"""The expert cache: which experts have a slot of GPU memory, and which are resident.

Slots form pools: one for each bank (scope `per_layer`), or one for all (scope `global`). Pinned experts lie outside the
pools. An expert takes its slot when its fetch is issued and becomes resident when the transfer ends.

Staging slots, where there are any, are a pool beside these for what is not, or not yet, let into one: prefetched experts
that no gate has asked for, and missed experts that the eviction policy does not admit. They are reused first in, first out.
Low-precision copies have keys of their own, and pools of smaller slots.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from simulator.eviction.protocol import Admits, Eviction

ABSENT, IN_FLIGHT, RESIDENT, ELSEWHERE = 0, 1, 2, 3


@dataclass(slots=True, kw_only=True)
class Pool:
    """Slots that share one eviction order."""

    num_slots: int
    free_slots: int
    eviction: Eviction


class ExpertCache:
    """Slots, residency and eviction. `state[key]` is ABSENT, IN_FLIGHT or RESIDENT, or ELSEWHERE for good.

    Where `can_shrink` is set, slots may be given up and taken back while the run goes on.

    `held` is the set that policies see as `view.held`: the executor adds the experts that it pins, the cache those in
    flight. `evicted` says, after a slot was taken, whose it was, None for a free one. A touch goes to `touch_of_key[key]`;
    for a key that is staged that is `staged_touched`, which its user sets.
    """

    def __init__(self, *, pool_of_key: Sequence[Pool], held: set[int], staging: Pool | None = None) -> None:
        self.state = bytearray(len(pool_of_key))
        self.held = held
        self.pinned: set[int] = set()
        self.staging = staging
        self.staged: set[int] = set()
        self.staged_touched: Callable[[int], None] = _ignore
        self._pool_of_key = pool_of_key
        self._pinned_of_pool: dict[int, int] = {}
        self.pools = list({id(pool): pool for pool in pool_of_key}.values())
        self.touch_of_key: list[Callable[[int], None]] = [pool.eviction.touch for pool in pool_of_key]
        self.evicted: int | None = None
        self.can_shrink = False
        self.admits = [pool for pool in self.pools if isinstance(pool.eviction, Admits)] if staging is not None else []

    def eviction_of_key(self, key: int) -> Eviction:
        """Return the policy that orders the slots for which the key competes."""
        return self._pool_of_key[key].eviction

    def slots_of_key(self, key: int) -> int:
        """Count the slots for which the key competes, those of pinned experts of its pool included."""
        pool = self._pool_of_key[key]
        return pool.num_slots + self._pinned_of_pool.get(id(pool), 0)

    def has_slot_for(self, key: int) -> bool:
        """Tell whether the key's pool has any slot, taken or free."""
        return self._pool_of_key[key].num_slots > 0

    def take_slot(self, key: int) -> bool:
        """Give the absent `key` a slot, evicting if the pool is full; False if nothing can be evicted.

        The key is then in flight and held.
        """
        pool = self._pool_of_key[key]
        if pool.free_slots:
            pool.free_slots -= 1
            self.evicted = None
        else:
            victim = pool.eviction.victim()
            if victim is None:
                return False
            pool.eviction.remove(victim)
            self.state[victim] = ABSENT
            self.evicted = victim
        pool.eviction.insert(key)
        self.state[key] = IN_FLIGHT
        self.held.add(key)
        return True

    def is_refused(self, key: int) -> bool:
        """Tell whether the key's pool is full and its policy lets a missed expert only pass through a staging slot."""
        pool = self._pool_of_key[key]
        eviction = pool.eviction
        return not pool.free_slots and isinstance(eviction, Admits) and not eviction.admits(key)

    def stage(self, key: int) -> bool:
        """Give the absent `key` a staging slot, the one taken first among those not held; False if all are held.

        The key is then in flight and held.
        """
        pool = self.staging
        assert pool is not None, "there are no staging slots"
        if pool.free_slots:
            pool.free_slots -= 1
            self.evicted = None
        else:
            victim = pool.eviction.victim()
            if victim is None:
                return False
            self._leave_staging(victim)
            self.state[victim] = ABSENT
            self.evicted = victim
        pool.eviction.insert(key)
        self.staged.add(key)
        self.touch_of_key[key] = self.staged_touched
        self.state[key] = IN_FLIGHT
        self.held.add(key)
        return True

    def adopt(self, key: int) -> bool:
        """Let a staged key into its pool; it keeps its memory. False if nothing can be evicted for it, or it is refused.

        `evicted` says which expert has lost its slot, which is then a free staging slot.
        """
        pool, staging = self._pool_of_key[key], self.staging
        assert staging is not None
        if self.is_refused(key):
            return False
        if pool.free_slots:
            pool.free_slots -= 1
            self.evicted = None
        else:
            victim = pool.eviction.victim()
            if victim is None:
                return False
            pool.eviction.remove(victim)
            self.state[victim] = ABSENT
            self.evicted = victim
        self._leave_staging(key)
        staging.free_slots += 1
        pool.eviction.insert(key)
        return True

    def release(self, key: int) -> None:
        """Take the slot of a key away, which nobody gets in its place; the key is then absent and not held."""
        if key in self.staged:
            assert self.staging is not None
            self._leave_staging(key)
            self.staging.free_slots += 1
        else:
            pool = self._pool_of_key[key]
            pool.eviction.remove(key)
            pool.free_slots += 1
        self.state[key] = ABSENT
        self.held.discard(key)

    def shrink(self, *, smallest_pool: int) -> int | None:
        """Give up a slot of the largest pool that can spare one, a free one first; return who has lost it, -1 for nobody.

        None if no pool of more than `smallest_pool` slots has one that is free or can be evicted from. Of pools of one
        size the first gives.
        """
        for pool in sorted(self.pools, key=lambda pool: -pool.num_slots):
            if pool.num_slots <= smallest_pool:
                return None
            if pool.free_slots:
                pool.free_slots -= 1
                pool.num_slots -= 1
                return -1
            victim = pool.eviction.victim()
            if victim is not None:
                pool.eviction.remove(victim)
                self.state[victim] = ABSENT
                pool.num_slots -= 1
                return victim
        return None

    def grow(self, most: Sequence[int]) -> bool:
        """Take back a slot for the pool that has given up most of what it had at first, `most`; False if none has.

        Of pools that lack as many the first gets it.
        """
        lacking = [had - pool.num_slots for had, pool in zip(most, self.pools, strict=True)]
        if max(lacking) <= 0:
            return False
        pool = self.pools[lacking.index(max(lacking))]
        pool.num_slots += 1
        pool.free_slots += 1
        return True

    def exclude(self, keys: Iterable[int]) -> None:
        """Leave absent keys to other GPUs: they never have a slot here, and naming them does nothing."""
        for key in keys:
            assert self.state[key] == ABSENT
            self.state[key] = ELSEWHERE
            self.touch_of_key[key] = _ignore

    def pin(self, keys: Iterable[int]) -> None:
        """Make absent keys resident for the whole run, outside the pools."""
        for key in keys:
            assert self.state[key] == ABSENT
            self.state[key] = RESIDENT
            self.touch_of_key[key] = _ignore
            self.pinned.add(key)
            pool = id(self._pool_of_key[key])
            self._pinned_of_pool[pool] = self._pinned_of_pool.get(pool, 0) + 1

    def warm(self, keys: Iterable[int]) -> None:
        """Make keys resident without a transfer, in order, until their pools are full."""
        for key in keys:
            pool = self._pool_of_key[key]
            if self.state[key] == ABSENT and pool.free_slots:
                pool.free_slots -= 1
                pool.eviction.insert(key)
                self.state[key] = RESIDENT

    def is_in_pool(self, key: int) -> bool:
        """Tell whether the key, which has a slot, is held by an eviction order of the pools."""
        return key not in self.pinned and key not in self.staged

    @property
    def num_pinned(self) -> int:
        """Pinned experts."""
        return len(self.pinned)

    @property
    def num_slots(self) -> int:
        """Slots in all, pinned and staging ones included."""
        return self.num_pinned + self.num_staging + sum(pool.num_slots for pool in self.pools)

    def num_slots_of(self, keys: Iterable[int]) -> int:
        """Count the slots of the pools for which some keys compete."""
        return sum(
            pool.num_slots for pool in {id(pool): pool for pool in map(self._pool_of_key.__getitem__, keys)}.values()
        )

    @property
    def num_staging(self) -> int:
        """Staging slots."""
        return 0 if self.staging is None else self.staging.num_slots

    def num_occupied(self) -> int:
        """Count the slots that are taken, by residents and by transfers under way."""
        taken = self.num_pinned + sum(pool.num_slots - pool.free_slots for pool in self.pools)
        return taken + len(self.staged)

    def _leave_staging(self, key: int) -> None:
        assert self.staging is not None
        self.staging.eviction.remove(key)
        self.staged.discard(key)
        self.touch_of_key[key] = self._pool_of_key[key].eviction.touch


def _ignore(key: int) -> None:
    """Take a touch of a pinned expert, which no eviction order holds."""


def split_slots(num_slots: int, num_banks: int) -> list[int]:
    """Divide slots among banks: floor(N / banks) each, one more for the first N mod banks (design: a static split)."""
    share, rest = divmod(num_slots, num_banks)
    return [share + (bank < rest) for bank in range(num_banks)]
