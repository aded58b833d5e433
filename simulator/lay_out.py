"""The expert cache of a run, laid out: how many slots each pool has, and what is there before the first step.

Scope `per_layer` gives each bank its own slots, divided by a rule; scope `global` lets all experts compete for all.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.cache import ExpertCache, Pool
from simulator.eviction.fifo import FIFO
from simulator.eviction.protocol import Eviction
from simulator.placement.protocol import Placement, Room
from simulator.slots.protocol import Split
from simulator.view import View
from traces.format import Trace

_COUNTED_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """Slots by kind: those that pools and pinned experts share, staging slots, and slots for low-precision copies."""

    experts: int
    staging: int = 0
    low: int = 0


def popularity(trace: Trace, sequences: Iterable[int]) -> NDArray[np.int64]:
    """Count the tokens routed to each expert key over some sequences of a trace: [banks * experts]."""
    num_keys = trace.num_banks * trace.num_experts
    first_key = (np.array(trace.banks, dtype=np.int64) * trace.num_experts)[None, :, None]
    counts = np.zeros(num_keys, dtype=np.int64)
    for sequence in sequences:
        tokens = trace.sequence_tokens(sequence)
        for start in range(tokens.start, tokens.stop, _COUNTED_TOKENS):
            ids = trace.expert_ids(start, min(start + _COUNTED_TOKENS, tokens.stop))
            counts += np.bincount((ids + first_key).ravel(), minlength=num_keys)
    return counts


def lay_out_cache(
    *,
    view: View,
    make_eviction: Callable[[], Eviction],
    placement: Placement,
    split: Split,
    size: CacheSize,
    scope: str,
    held: set[int],
    elsewhere: Iterable[int] = (),
) -> ExpertCache:
    """Make the expert cache of a run. Needs room for one token's working set in each pool (see `smallest_cache`).

    Experts `elsewhere` are other GPUs'.
    """
    num_experts, num_banks = view.num_experts, view.num_keys // view.num_experts
    of_bank = None if scope == "global" else list(split.split(size.experts, num_banks))
    residents = placement.place(Room(num_slots=size.experts, of_bank=of_bank))
    pinned = list(residents.pinned)
    if of_bank is None or residents.shares_rest:
        pools = [_pool(make_eviction(), size.experts - len(pinned))] * num_banks
    else:
        pinned_of_bank = np.bincount([key // num_experts for key in pinned], minlength=num_banks).tolist()
        pools = [_pool(make_eviction(), slots - taken) for slots, taken in zip(of_bank, pinned_of_bank, strict=True)]
    if size.low:
        pools = [*pools, *_low_pools(make_eviction, split, size.low, num_banks, is_global=of_bank is None)]
    cache = ExpertCache(
        pool_of_key=[pool for pool in pools for _ in range(num_experts)],
        held=held,
        staging=_pool(FIFO(view), size.staging) if size.staging else None,
    )
    cache.exclude(elsewhere)
    cache.pin(pinned)
    cache.warm(residents.warm)
    return cache


def smallest_cache(*, num_banks: int, top_k: int, scope: str) -> int:
    """Return the fewest slots that a run needs: one token's working set in all, and one slot for each bank of its own.

    A bank with fewer slots than top-k gets through a token's experts in waves.
    """
    return max(top_k, num_banks) if scope == "per_layer" else top_k


def pool_sizes(cache: ExpertCache) -> Sequence[int]:
    """Return the slots of each pool."""
    return [pool.num_slots for pool in cache.pools]


def _low_pools(
    make_eviction: Callable[[], Eviction], split: Split, num_slots: int, num_banks: int, *, is_global: bool
) -> list[Pool]:
    """Make pools for the low-precision copies, divided as the others are; one for all where a bank would have no slot."""
    if is_global or num_slots < num_banks:
        return [_pool(make_eviction(), num_slots)] * num_banks
    return [_pool(make_eviction(), slots) for slots in split.split(num_slots, num_banks)]


def _pool(eviction: Eviction, num_slots: int) -> Pool:
    assert num_slots >= 0
    return Pool(num_slots=num_slots, free_slots=num_slots, eviction=eviction)
