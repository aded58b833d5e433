"""How recently each expert of a bank was used, for every event: what miss ratios and unions are counted from.

An *event* is one top-k set. The stamp of an expert is the place of its last use in the stream of all accesses, in
which the members of a set stand in the order of the set: event * K + rank; -1 before the first use.

Limits: one stream. Concurrent sequences that share a cache interleave their events, and a batch merges them; both
depend on the serving system, so the simulator counts them, not these statistics.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids

_CHUNK_EVENTS = 4096  # [E, events] of stamps stays in the cache of one core for the usual E


def bank_events(ids_TLK: Ids, banks: tuple[int, ...] | None = None) -> list[Ids]:
    """Return each bank's stream of events, [events, K], in the order in which a forward pass meets them.

    `banks` has one entry per routing round; None, or empty, gives each round a bank of its own.
    """
    num_layers, top_k = ids_TLK.shape[1:]
    banks = banks or tuple(range(num_layers))
    rounds = [[layer for layer in range(num_layers) if banks[layer] == bank] for bank in range(max(banks) + 1)]
    streams: list[Ids] = [ids_TLK[:, of_bank].reshape(-1, top_k) for of_bank in rounds]
    return streams


def stamps(events_NK: Ids, num_experts: int) -> Iterator[tuple[int, NDArray[np.signedinteger]]]:
    """Yield (first event, stamps [E, n+1]) for slices of n events.

    Column i holds the stamps before event first + i, column i + 1 those after it.
    """
    num_events, top_k = events_NK.shape
    dtype = np.dtype(np.int32 if num_events * top_k < 1 << 31 else np.int64)  # half the memory traffic, if it will do
    latest_E = np.full(num_experts, -1, dtype)
    for first in range(0, num_events, _CHUNK_EVENTS):
        part_nK = events_NK[first : first + _CHUNK_EVENTS]
        count = len(part_nK)
        stamp_En = np.full((num_experts, count + 1), -1, dtype)
        stamp_En[:, 0] = latest_E
        columns = np.arange(1, count + 1)
        for rank in range(top_k):
            stamp_En[part_nK[:, rank], columns] = (first + columns - 1) * top_k + rank
        np.maximum.accumulate(stamp_En, axis=1, out=stamp_En)
        latest_E = stamp_En[:, -1].copy()
        yield first, stamp_En
