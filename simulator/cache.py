"""The expert cache: which experts have a slot of GPU memory, and which are resident.

Slots form pools: one for each bank (scope `per_layer`), or one for all (scope `global`). Pinned experts lie outside the
pools. An expert takes its slot when its fetch is issued and becomes resident when the transfer ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simulator.eviction.protocol import Eviction

ABSENT, IN_FLIGHT, RESIDENT = 0, 1, 2


@dataclass(slots=True, kw_only=True)
class Pool:
    """Slots that share one eviction order."""

    num_slots: int
    free_slots: int
    eviction: Eviction


class ExpertCache:
    """Slots, residency and eviction. `state[key]` is ABSENT, IN_FLIGHT or RESIDENT.

    `held` is the set that policies see as `view.held`: the executor adds the experts that it pins, the cache those in
    flight.
    """

    def __init__(self, *, pool_of_key: Sequence[Pool], held: set[int]) -> None:
        self.state = bytearray(len(pool_of_key))
        self.held = held
        self.num_pinned = 0
        self._pool_of_key = pool_of_key
        self.pools = list({id(pool): pool for pool in pool_of_key}.values())
        self.touch_of_key = [pool.eviction.touch for pool in pool_of_key]
        self.evicted: int | None = None

    def take_slot(self, key: int) -> bool:
        """Give the absent `key` a slot, evicting if the pool is full; False if nothing can be evicted.

        The key is then in flight and held. `evicted` says whose slot it was, None for a free one.
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

    def pin(self, keys: Iterable[int]) -> None:
        """Make absent keys resident for the whole run, outside the pools."""
        for key in keys:
            assert self.state[key] == ABSENT
            self.state[key] = RESIDENT
            self.touch_of_key[key] = _ignore
            self.num_pinned += 1

    def warm(self, keys: Iterable[int]) -> None:
        """Make keys resident without a transfer, in order, until their pools are full."""
        for key in keys:
            pool = self._pool_of_key[key]
            if self.state[key] == ABSENT and pool.free_slots:
                pool.free_slots -= 1
                pool.eviction.insert(key)
                self.state[key] = RESIDENT

    @property
    def num_slots(self) -> int:
        """Slots in all, pinned ones included: the capacity in experts."""
        return self.num_pinned + sum(pool.num_slots for pool in self.pools)

    def num_occupied(self) -> int:
        """Count the slots that are taken, by residents and by transfers under way."""
        return self.num_pinned + sum(pool.num_slots - pool.free_slots for pool in self.pools)


def _ignore(key: int) -> None:
    """Take a touch of a pinned expert, which no eviction order holds."""


def split_slots(num_slots: int, num_banks: int) -> list[int]:
    """Divide slots among banks: floor(N / banks) each, one more for the first N mod banks (design: a static split)."""
    share, rest = divmod(num_slots, num_banks)
    return [share + (bank < rest) for bank in range(num_banks)]
