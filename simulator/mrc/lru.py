"""LRU hits of an expert cache for every capacity at once, in one pass, exactly as the simulator counts them.

An event touches its hits in order and then inserts its misses in order, so the members of an event that are used last
stand in an order that depends on which of them hit, and that on the capacity: LRU here is no stack algorithm. But the order
among events does not depend on it. Let g be the experts used since the last event t of an expert, and s those whose last
event t is, itself included. A cache of C experts holds it if C >= g + s, and does not if C <= g. Between, for s - 1
capacities, the members of t are put in the order that t left at that capacity: those that hit it, then those that missed.
Which that were is remembered per member for the s - 1 capacities that were in between then; for all others g and s say it.

A pool smaller than an event works through it in waves; what is computed first is evicted first, so the last C of
the event stay, in that same order, and these capacities are exact as well.

Source: Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies" (IBM Systems Journal, 1970), for
stack distances; Bennett and Kruskal, "LRU stack processing" (IBM Journal of Research and Development, 1975), for counting
them with a tree.

Limits: an empty cache at the start; no prefetch, no pinned experts, kernels one by one (grouped kernels unpin several
experts of a wave together, which matters to no LRU).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulator.mrc.accesses import Accesses
from simulator.mrc.compiled import as_loop, as_room, is_compiled

_EVENTS_PER_CALL = 1 << 16
_PLAIN_EVENTS_PER_CALL = 1 << 12


def lru_hits(accesses: Accesses, progress: Callable[[int], None] | None = None) -> NDArray[np.int64]:
    """Return the hits for each capacity, [num_keys + 1]; entry C is for C experts. `progress` is told of events done."""
    num_keys, width = accesses.num_keys, max(1, accesses.largest_event - 1)
    num_places = 2 * num_keys + 64
    from_capacity = as_room(np.zeros(num_keys + 2, np.int64))
    at_capacity = as_room(np.zeros(num_keys + 2, np.int64))
    flags = (
        as_room(np.zeros(num_keys * width, np.uint8)),  # whether it hit at capacity g + 1 + i, [num_keys, width]
        as_room(np.zeros((width + 1) * width, np.uint8)),  # the same for the current event's members
    )
    counts = (
        as_room(np.full(num_keys, -1, np.int64)),  # place of each key's last event
        as_room(np.full(num_keys, -1, np.int64)),  # that event
        as_room(np.zeros(num_keys, np.int64)),  # g at that event
        as_room(np.zeros(num_keys, np.int64)),  # g + s at that event
        as_room(np.full(num_keys, -1, np.int64)),  # rank in the current event
        as_room(np.zeros(num_places, np.int64)),  # members of each place's event that were not used since
        as_room(np.full(num_places, -1, np.int64)),  # the event of each place
        as_room(np.zeros(num_places + 1, np.int64)),  # tree of those members
        as_room(np.full(num_places, -1, np.int64)),  # the event that has last worked out a place
        as_room(np.zeros(2, np.int64)),  # places in use; keys used so far
        as_room(np.zeros((width + 1) * 2, np.int64)),  # g and g + s of the current event's members
    )
    loop, keys, starts = as_loop(_lru_events), as_room(accesses.keys), as_room(accesses.starts)
    stride = _EVENTS_PER_CALL if is_compiled() else _PLAIN_EVENTS_PER_CALL
    for first in range(0, accesses.num_events, stride):
        last = min(first + stride, accesses.num_events)
        loop(keys, starts, first, last, num_keys, width, from_capacity, at_capacity, *flags, *counts)
        if progress is not None:
            progress(last - first)
    return (np.cumsum(from_capacity) + at_capacity)[: num_keys + 1]


def _lru_events(
    keys: NDArray[np.int32],
    starts: NDArray[np.int64],
    first: int,
    last: int,
    num_keys: int,
    width: int,
    from_capacity: NDArray[np.int64],
    at_capacity: NDArray[np.int64],
    between_of_key: NDArray[np.uint8],
    between: NDArray[np.uint8],
    place_of_key: NDArray[np.int64],
    event_of_key: NDArray[np.int64],
    low_of_key: NDArray[np.int64],
    high_of_key: NDArray[np.int64],
    rank_of_key: NDArray[np.int64],
    members: NDArray[np.int64],
    event_of_place: NDArray[np.int64],
    tree: NDArray[np.int64],
    worked_out: NDArray[np.int64],
    in_use: NDArray[np.int64],
    bounds: NDArray[np.int64],
) -> None:
    """Count the hits of some events: at_capacity at one capacity alone, from_capacity at it and all above."""
    num_places = len(members)
    for event in range(first, last):
        start, stop = starts[event], starts[event + 1]
        size = stop - start
        if in_use[0] == num_places:  # close up the places whose members have all been used since
            num_kept = 0
            for place in range(num_places + 1):
                tree[place] = 0
            for place in range(num_places):
                worked_out[place] = -1
                if members[place] > 0:
                    members[num_kept] = members[place]
                    event_of_place[num_kept] = event_of_place[place]
                    for position in range(starts[event_of_place[place]], starts[event_of_place[place] + 1]):
                        key = keys[position]
                        if event_of_key[key] == event_of_place[place]:
                            place_of_key[key] = num_kept
                    num_kept += 1
            for place in range(num_kept):
                node = place + 1
                while node <= num_places:
                    tree[node] += members[place]
                    node += node & -node
            for place in range(num_kept, num_places):
                members[place] = 0
            in_use[0] = num_kept
        for rank in range(size):
            rank_of_key[keys[start + rank]] = rank
        for rank in range(size):
            key = keys[start + rank]
            place = place_of_key[key]
            if place < 0:  # its first use
                bounds[2 * rank] = num_keys
                bounds[2 * rank + 1] = num_keys + 1
                continue
            older = 0
            node = place + 1
            while node > 0:
                older += tree[node]
                node -= node & -node
            low = in_use[1] - older
            high = low + members[place]
            bounds[2 * rank] = low
            bounds[2 * rank + 1] = high
            from_capacity[high] += 1
            if high - low == 1 or worked_out[place] == event:
                continue
            worked_out[place] = event
            shared = event_of_place[place]
            for capacity in range(low + 1, high):
                column = capacity - low - 1
                for position in range(starts[shared], starts[shared + 1]):
                    other = rank_of_key[keys[position]]
                    if other >= 0 and event_of_key[keys[position]] == shared:
                        between[other * width + column] = 0
                room = capacity - low
                for had_hit in range(2):  # what missed was inserted after what hit was touched
                    position = starts[shared + 1] - 1
                    while position >= starts[shared] and room > 0:
                        member = keys[position]
                        position -= 1
                        if event_of_key[member] != shared:
                            continue
                        hit = 0
                        if capacity >= high_of_key[member]:
                            hit = 1
                        elif capacity > low_of_key[member]:
                            hit = between_of_key[member * width + capacity - low_of_key[member] - 1]
                        if hit != had_hit:
                            continue
                        room -= 1
                        other = rank_of_key[member]
                        if other >= 0:
                            between[other * width + column] = 1
                            at_capacity[capacity] += 1
        new_place = in_use[0]
        for rank in range(size):
            key = keys[start + rank]
            place = place_of_key[key]
            if place >= 0:
                members[place] -= 1
                in_use[1] -= 1
                node = place + 1
                while node <= num_places:
                    tree[node] -= 1
                    node += node & -node
            place_of_key[key] = new_place
            event_of_key[key] = event
            low_of_key[key] = bounds[2 * rank]
            high_of_key[key] = bounds[2 * rank + 1]
            for column in range(bounds[2 * rank + 1] - bounds[2 * rank] - 1):
                between_of_key[key * width + column] = between[rank * width + column]
            rank_of_key[key] = -1
        members[new_place] = size
        event_of_place[new_place] = event
        in_use[0] += 1
        in_use[1] += size
        node = new_place + 1
        while node <= num_places:
            tree[node] += size
            node += node & -node
