"""LRU miss ratios of an expert cache, for every capacity at once, by stack distances.

LRU keeps the C experts that were used last, so an access hits a cache of C experts exactly if fewer than C others were
used since its own last use: one pass over the trace gives all capacities. The top-k set of a layer is one event: all
of its hits are decided before any of it enters the cache, its members cannot evict each other, and they are touched in
the order of the set.

Source: Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies" (IBM Systems Journal, 1970)
for stack distances; Eliseev and Mazur, "Fast Inference of Mixture-of-Experts Language Models with Offloading" (2023)
for LRU hit rates of experts as the quantity of interest.

Limits: one sequence at a time, each bank with a cache of its own, no prefetch. Hits and misses of one set are touched
in the order of the set; an engine that touches hits when the gate is known and inserts misses afterwards orders a set
that is half resident a little differently, and `simulator.mrc` counts as it does. Below K experts of capacity the last C
of a set stay.
"""

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids
from traces.statistics.recency import bank_events, stamps


def stack_distances(events_NK: Ids, num_experts: int) -> NDArray[np.int32]:
    """Return for each access [N, K] how many other experts were used since its last use; `num_experts` for the first.

    The access hits an LRU cache of C experts if its distance is below C.
    """
    distance_NK = np.empty(events_NK.shape, np.int32)
    for first, stamp_En in stamps(events_NK, num_experts):
        before_En = stamp_En[:, :-1]
        part_nK = events_NK[first : first + before_En.shape[1]]
        columns = np.arange(len(part_nK))
        for rank in range(part_nK.shape[1]):
            own_n = before_En[part_nK[:, rank], columns]
            deeper_n = (before_En > own_n).sum(axis=0, dtype=np.uint16)  # at most 2**16 - 1 others
            distance_NK[first : first + len(part_nK), rank] = np.where(own_n < 0, num_experts, deeper_n)
    return distance_NK


def lru_hit_rates(ids_TLK: Ids, num_experts: int, banks: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Return the hit rate of a per-bank LRU cache, [banks, E]; column c is for a capacity of c + 1 experts.

    The cache is empty at the start and is kept from one sequence to the next.
    """
    rates = []
    for events_NK in bank_events(ids_TLK, banks):
        distance_NK = stack_distances(events_NK, num_experts)
        counts = np.bincount(distance_NK.ravel(), minlength=num_experts + 1)
        rates.append(np.cumsum(counts[:num_experts]) / distance_NK.size)
    return np.array(rates)
