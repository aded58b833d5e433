"""Slots where they save most misses in recorded routing.

Legend: B banks, E experts of a bank.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.slots.least_cost import fewest_slots, least_cost
from simulator.view import View
from traces.statistics.miss_ratio import stack_distances
from traces.statistics.recency import bank_events


class ByMisses:
    """Split so that LRU caches of the banks, with one token at a time, would have missed least in training.

    How often a bank misses with each number of slots is measured, for all numbers at once, by stack distances over the
    training tokens; the split of least misses in all is exact.

    Source: the idea of choosing the slots of each layer by a dynamic program is S. Zhong et al.: "AdapMoE: adaptive
    sensitivity-based expert gating and management for efficient MoE inference", arXiv 2408.10284, whose costs are a
    formula; measured ones are ours. Stack distances: see `traces.statistics.miss_ratio`.

    Limits: LRU, whatever the eviction policy of the run is; tokens of a batch come one after the other; no prefetch; the
    cache is kept from one training sequence to the next.
    """

    def __init__(self, view: View) -> None:
        self._top_k, self._misses_BE = view.top_k, lru_misses(view)

    def split(self, num_slots: int, num_banks: int) -> Sequence[int]:
        """Minimise misses."""
        assert num_banks == len(self._misses_BE)
        return least_cost(self._misses_BE, num_slots, at_least=fewest_slots(num_slots, num_banks, self._top_k))


def lru_misses(view: View) -> NDArray[np.int64]:
    """Count the misses of each bank's LRU cache over the training tokens, [B, E+1], by its slots."""
    banks = tuple(view.first_key(layer) // view.num_experts for layer in range(view.num_layers))
    ids_TLK = (view.training.keys_TLK % view.num_experts).astype(np.uint16)
    rows = []
    for events_NK in bank_events(ids_TLK, banks):
        distances_NK = stack_distances(events_NK, view.num_experts)
        counts = np.bincount(distances_NK.ravel(), minlength=view.num_experts + 1)
        rows.append(counts[::-1].cumsum()[::-1])  # an access misses with so many slots as its distance, or fewer
    return np.array(rows, np.int64)
