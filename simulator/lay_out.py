"""What is on the GPU before the first step, and how slots are divided: the expert cache of a run, laid out.

Scope `per_layer` gives each bank floor(N / banks) of N slots, one more to the first N mod banks; scope `global` lets all
experts compete for all. An eviction policy with `PINS_POPULAR` has the most popular experts pinned in all slots but
`top_k`, which are staging slots for all layers together.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from simulator.cache import ExpertCache, Pool, split_slots
from simulator.eviction.protocol import Eviction
from traces.format import Trace

_COUNTED_TOKENS = 4096


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


def most_popular(counts: NDArray[np.int64], num_slots: int, *, num_banks: int, scope: str) -> list[int]:
    """Return the keys of the `num_slots` most popular experts, most popular first; ties go to the lowest key.

    Scope `per_layer` takes as many of each bank as it has slots.
    """
    if scope == "global":
        return [int(key) for key in np.argsort(-counts, kind="stable")[:num_slots]]
    num_experts = len(counts) // num_banks
    of_bank = [
        (bank * num_experts + np.argsort(-counts[bank * num_experts :][:num_experts], kind="stable")[:slots]).tolist()
        for bank, slots in enumerate(split_slots(num_slots, num_banks))
    ]
    return list(chain.from_iterable(of_bank))


def lay_out_cache(
    *,
    make_eviction: Callable[[], Eviction],
    num_slots: int,
    num_banks: int,
    num_experts: int,
    top_k: int,
    scope: str,
    start: str,
    held: set[int],
    count_popularity: Callable[[], NDArray[np.int64]],
) -> ExpertCache:
    """Make the expert cache of a run. Needs room for one token's working set in each pool (see `smallest_cache`)."""
    pins_popular = bool(getattr(make_eviction(), "PINS_POPULAR", False))
    num_pinned = max(0, num_slots - top_k) if pins_popular else 0
    if scope == "global" or pins_popular:
        pools = [_pool(make_eviction(), num_slots - num_pinned)] * num_banks
    else:
        pools = [_pool(make_eviction(), slots) for slots in split_slots(num_slots, num_banks)]
    cache = ExpertCache(pool_of_key=[pool for pool in pools for _ in range(num_experts)], held=held)
    if pins_popular:
        cache.pin(most_popular(count_popularity(), num_pinned, num_banks=num_banks, scope=scope))
    elif start == "popular":
        keys = most_popular(count_popularity(), num_slots, num_banks=num_banks, scope=scope)
        cache.warm(reversed(keys))  # the most popular last, as the most recently used
    return cache


def smallest_cache(*, num_banks: int, top_k: int, scope: str) -> int:
    """Return the fewest slots that hold one layer's working set of one token, whichever layer it is."""
    return top_k * (num_banks if scope == "per_layer" else 1)


def _pool(eviction: Eviction, num_slots: int) -> Pool:
    return Pool(num_slots=num_slots, free_slots=num_slots, eviction=eviction)


def pool_sizes(cache: ExpertCache) -> Sequence[int]:
    """Return the slots of each pool."""
    return [pool.num_slots for pool in cache.pools]
