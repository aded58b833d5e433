"""Hits of Belady's optimum in the simulator's semantics, for one capacity, by going through the accesses.

A miss evicts the expert that is used again last, among those that are not pinned; never used again first, ties to the
lowest key. A pool smaller than an event works through it in waves, and what has been computed may be evicted.

Source: L. A. Belady: "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2), 1966.

Limits: it is the optimum where one expert is asked for at a time. In an event of several, the order in which its misses
choose victims makes no difference to their number; where a pool is smaller than an event, it need not be the best.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.mrc.accesses import Accesses
from simulator.mrc.compiled import as_loop, as_room

_NEVER = 1 << 62


def next_events(accesses: Accesses) -> NDArray[np.int64]:
    """Return for each access the next event that asks for its key; a number beyond all for none."""
    keys = accesses.keys
    events = np.repeat(np.arange(accesses.num_events), np.diff(accesses.starts))
    order = np.argsort(keys, kind="stable")
    following = np.full(len(keys), _NEVER, np.int64)
    same = keys[order[1:]] == keys[order[:-1]]
    following[order[:-1][same]] = events[order[1:][same]]
    return following


class Belady:
    """Count the hits of pools of several capacities over the same accesses."""

    def __init__(self, accesses: Accesses) -> None:
        self._accesses = accesses
        self._keys, self._starts = as_room(accesses.keys), as_room(accesses.starts)
        self._following = as_room(next_events(accesses))

    def hits(self, capacity: int) -> int:
        """Count the hits of a pool of `capacity` slots."""
        num_keys = self._accesses.num_keys
        num_slots = min(capacity, num_keys)
        if num_slots < 1:
            return 0
        return int(
            as_loop(_belady)(
                self._keys,
                self._starts,
                self._following,
                num_slots,
                as_room(np.full(num_keys, -1, np.int64)),
                as_room(np.zeros(num_keys, np.int64)),
                as_room(np.zeros(num_keys, np.uint8)),
                as_room(np.zeros(num_slots, np.int64)),
                as_room(np.zeros(self._accesses.largest_event, np.int64)),
            )
        )


def _belady(
    keys: NDArray[np.int32],
    starts: NDArray[np.int64],
    following: NDArray[np.int64],
    capacity: int,
    slot_of_key: NDArray[np.int64],
    next_of_key: NDArray[np.int64],
    is_pinned: NDArray[np.uint8],
    key_of_slot: NDArray[np.int64],
    to_compute: NDArray[np.int64],
) -> int:
    """Go through the accesses; the arrays are room to work in."""
    hits, taken = 0, 0
    for event in range(len(starts) - 1):
        start, stop = starts[event], starts[event + 1]
        num_queued, num_computed = 0, 0
        for position in range(start, stop):
            key = keys[position]
            next_of_key[key] = following[position]
            is_pinned[key] = 1
            if slot_of_key[key] >= 0:
                to_compute[num_queued] = key
                num_queued += 1
        hits += num_queued
        if num_queued < stop - start:
            for position in range(start, stop):
                key = keys[position]
                if slot_of_key[key] >= 0 or is_pinned[key] == 2:  # a hit
                    continue
                slot = -1
                if taken < capacity:
                    slot = taken
                    taken += 1
                while slot < 0:
                    latest, victim = -1, -1
                    for candidate in range(capacity):
                        other = key_of_slot[candidate]
                        if is_pinned[other] == 1:
                            continue
                        if next_of_key[other] > latest or (next_of_key[other] == latest and other < victim):
                            latest, victim = next_of_key[other], other
                    if victim >= 0:
                        slot = slot_of_key[victim]
                        slot_of_key[victim] = -1
                    else:  # the next of the event is computed
                        is_pinned[to_compute[num_computed]] = 2
                        num_computed += 1
                slot_of_key[key] = slot
                key_of_slot[slot] = key
                to_compute[num_queued] = key
                num_queued += 1
        for position in range(start, stop):
            is_pinned[keys[position]] = 0
    return hits
