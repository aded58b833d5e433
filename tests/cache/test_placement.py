"""What is resident before the first step: popularity, pools, pinned and warm experts."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.cache import RESIDENT, ExpertCache
from simulator.eviction import EVICTION
from simulator.lay_out import lay_out_cache, most_popular, pool_sizes, popularity, smallest_cache
from tests.hand_made import HandView, make_trace, random_routing

NUM_BANKS, NUM_EXPERTS, TOP_K = 3, 4, 2
COUNTS = np.array([5, 9, 9, 1, 0, 2, 8, 3, 7, 7, 6, 4], np.int64)  # by key: three banks of four


def lay_out(
    num_slots: int,
    *,
    eviction: str = "lru",
    scope: str = "per_layer",
    start: str = "cold",
    counts: NDArray[np.int64] | None = COUNTS,
) -> tuple[ExpertCache, list[int]]:
    """Lay out a cache of three banks of four experts; return it, and the keys that are resident."""
    view = HandView([[0]])

    def count() -> NDArray[np.int64]:
        assert counts is not None, "nobody needs to know what is popular"
        return counts

    cache = lay_out_cache(
        make_eviction=lambda: EVICTION[eviction](view),
        num_slots=num_slots,
        num_banks=NUM_BANKS,
        num_experts=NUM_EXPERTS,
        top_k=TOP_K,
        scope=scope,
        start=start,
        held=view.held,
        count_popularity=count,
    )
    return cache, [key for key in range(NUM_BANKS * NUM_EXPERTS) if cache.state[key] == RESIDENT]


@pytest.mark.parametrize("banks", [(), (0, 1, 0)])
def test_popularity_counts_the_tokens_routed_to_each_expert(banks: tuple[int, ...], tmp_path: Path) -> None:
    """Over the sequences asked for, as numpy counts them; layers that share a bank count together."""
    routing = random_routing(3, lengths=[7, 40, 1], num_layers=3, num_experts=NUM_EXPERTS, top_k=TOP_K)
    trace = make_trace(tmp_path / "t.safetensors", routing, num_experts=NUM_EXPERTS, banks=banks)
    for sequences in ([0, 1, 2], [2], [0, 2]):
        keys = [
            trace.banks[layer] * NUM_EXPERTS + expert
            for sequence in sequences
            for token in routing[sequence]
            for layer, experts in enumerate(token)
            for expert in experts
        ]
        expected = np.zeros(trace.num_banks * NUM_EXPERTS, np.int64)
        found, counts = np.unique(keys, return_counts=True)
        expected[found] = counts
        np.testing.assert_array_equal(popularity(trace, sequences), expected)


def test_popularity_of_a_recorded_trace(shared_data: Path, tmp_path: Path) -> None:
    """More tokens than are read at once count as numpy counts them (gpt-oss-20b, one long sequence)."""
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz") as archive:
        ids = archive["expert_ids"][:5000]
    trace = make_trace(tmp_path / "t.safetensors", [ids.tolist()], num_experts=32)
    counts = popularity(trace, [0]).reshape(24, 32)
    for layer in range(24):
        np.testing.assert_array_equal(counts[layer], np.bincount(ids[:, layer].ravel(), minlength=32))


@pytest.mark.parametrize(
    ("num_slots", "scope", "expected"),
    [
        (5, "global", [1, 2, 6, 8, 9]),  # 9 9 8 7 7
        (4, "global", [1, 2, 6, 8]),  # of two experts with 7 tokens, the lower key
        (5, "per_layer", [1, 2, 6, 7, 8]),  # two, two, one
        (0, "global", []),
        (12, "global", [1, 2, 6, 8, 9, 10, 0, 11, 7, 5, 3, 4]),
    ],
)
def test_the_most_popular(num_slots: int, scope: str, expected: list[int]) -> None:
    """Most popular first; ties go to the lowest key; each bank its share where slots are per layer."""
    assert most_popular(COUNTS, num_slots, num_banks=NUM_BANKS, scope=scope) == expected


def test_the_default_start_is_an_empty_cache() -> None:
    """Nothing is resident, and nobody asks what is popular."""
    cache, resident = lay_out(8, counts=None)
    assert resident == []
    assert pool_sizes(cache) == [3, 3, 2]
    assert (cache.num_slots, cache.num_occupied(), cache.num_pinned) == (8, 0, 0)


def test_a_global_scope_is_one_pool() -> None:
    """All experts compete for all slots."""
    cache, _ = lay_out(8, scope="global", counts=None)
    assert pool_sizes(cache) == [8]
    for key in (0, 1, 2, 3, 4, 5, 6, 7):
        assert cache.take_slot(key)
    assert not cache.take_slot(8)


def test_pools_per_layer_do_not_compete() -> None:
    """A full bank evicts its own, whatever is free elsewhere."""
    cache, _ = lay_out(6, counts=None)
    assert cache.take_slot(0)
    assert cache.take_slot(1)
    assert not cache.take_slot(2)
    assert cache.take_slot(4)


@pytest.mark.parametrize(("scope", "expected"), [("per_layer", [1, 2, 6, 7, 8]), ("global", [1, 2, 6, 8, 9])])
def test_a_popular_start_is_warm_but_not_pinned(scope: str, expected: list[int]) -> None:
    """The most popular experts fill the slots; the least popular of them is the least recently used."""
    cache, resident = lay_out(5, scope=scope, start="popular")
    assert resident == expected
    assert cache.num_pinned == 0
    assert cache.take_slot(0)
    assert cache.evicted == (2 if scope == "per_layer" else 9)


@pytest.mark.parametrize("scope", ["per_layer", "global"])
def test_static_pins_the_popular_and_stages_the_rest(scope: str) -> None:
    """All slots but top-k are pinned; the top-k staging slots serve all layers, first in, first out."""
    cache, resident = lay_out(7, eviction="static", scope=scope)
    assert resident == sorted(most_popular(COUNTS, 5, num_banks=NUM_BANKS, scope=scope))
    assert (cache.num_slots, cache.num_pinned) == (7, 5)
    assert pool_sizes(cache) == [TOP_K]
    staged = [key for key in range(12) if key not in resident]
    evicted = []
    for key in staged:
        assert cache.take_slot(key)
        cache.held.clear()
        evicted.append(cache.evicted)
    assert evicted == [None, None, *staged[:-2]]
    assert all(cache.state[key] == RESIDENT for key in resident)


def test_static_with_no_more_than_the_working_set_pins_nothing() -> None:
    """Slots for one token's experts are all staging slots."""
    cache, resident = lay_out(TOP_K, eviction="static", scope="global")
    assert resident == []
    assert (cache.num_pinned, pool_sizes(cache)) == (0, [TOP_K])


@pytest.mark.parametrize("scope", ["per_layer", "global"])
@pytest.mark.parametrize("num_banks", [1, 3])
def test_the_smallest_cache_holds_a_token_in_every_layer(scope: str, num_banks: int) -> None:
    """Per layer, each bank needs top-k slots of its own; one pool for all needs top-k once."""
    smallest = smallest_cache(num_banks=num_banks, top_k=TOP_K, scope=scope)
    assert smallest == (TOP_K * num_banks if scope == "per_layer" else TOP_K)
