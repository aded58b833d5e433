"""LRU hit rates by stack distances against a cache that is run."""

import numpy as np
from hypothesis import given, settings

from tests.traces.random_traces import RandomTrace, skewed_ids, traces, uniform_ids
from traces.format import Ids
from traces.statistics import recency
from traces.statistics.miss_ratio import lru_hit_rates, stack_distances


def run_lru(events: Ids, capacity: int) -> int:
    """Return the hits of an LRU cache, oldest first in a list: a set's hits are decided before any of it enters."""
    cache: list[int] = []
    hits = 0
    for event in events.tolist():
        resident = set(cache)
        hits += sum(expert in resident for expert in event)
        for expert in event:
            if expert in cache:
                cache.remove(expert)
            cache.append(expert)
        while len(cache) > capacity:
            cache.pop(0)
    return hits


@given(traces())
@settings(max_examples=60, deadline=None)
def test_hit_rates_are_those_of_a_cache_that_is_run_at_every_capacity(trace: RandomTrace) -> None:
    rates = lru_hit_rates(trace.ids, trace.num_experts)
    for layer in range(trace.ids.shape[1]):
        events = trace.ids[:, layer]
        for capacity in range(1, trace.num_experts + 1):
            assert rates[layer, capacity - 1] == run_lru(events, capacity) / events.size


def test_members_of_a_set_do_not_evict_each_other() -> None:
    """Two sets in turn fit a cache of their union, and not one expert less: then all of both miss."""
    events = np.array([[0, 1], [2, 3]] * 10, np.uint8)
    rates = lru_hit_rates(events[:, None, :], 4)
    assert rates[0].tolist() == [0, 0, 0.9 * 0.5, 0.9]  # of 3 experts, the later member of the older set is left


def test_hits_are_decided_before_insertion() -> None:
    """With one slot, the last of a set stays, and hits wherever it stands in the next set."""
    events = np.array([[0, 1], [1, 2], [2, 1]], np.uint8)
    assert stack_distances(events, 3).tolist() == [[3, 3], [0, 3], [0, 1]]


def test_rounds_of_a_shared_bank_form_one_stream() -> None:
    ids = skewed_ids(50, 4, 2, 8, seed=3)
    rates = lru_hit_rates(ids, 8, (0, 1, 0, 1))
    assert rates.shape == (2, 8)
    merged = ids[:, [0, 2]].reshape(-1, 2)
    assert rates[0, 3] == run_lru(merged, 4) / merged.size


def test_slices_of_a_long_trace_join() -> None:
    ids = skewed_ids(recency._CHUNK_EVENTS + 100, 1, 2, 6, seed=4)
    rates = lru_hit_rates(ids, 6)
    assert [rate * ids.size for rate in rates[0]] == [run_lru(ids[:, 0], capacity) for capacity in range(1, 7)]


def test_uniform_routing_hits_in_proportion_to_capacity() -> None:
    """With independent uniform choices of one expert, a cache of C of E hits C / E of the time."""
    rates = lru_hit_rates(uniform_ids(20_000, 1, 1, 16, seed=5), 16)
    np.testing.assert_allclose(rates[0], np.arange(1, 17) / 16, atol=0.012)
