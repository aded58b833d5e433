"""What is resident before the first step: popularity, pools, pinned and warm experts."""

from pathlib import Path

import numpy as np
import pytest

from simulator.cache import RESIDENT, ExpertCache, split_slots
from simulator.eviction import EVICTION
from simulator.lay_out import CacheSize, lay_out_cache, pool_sizes, popularity, smallest_cache
from simulator.placement import PLACEMENT
from simulator.placement.most_popular import most_popular
from simulator.placement.protocol import Room
from simulator.slots import SLOTS
from tests.hand_made import HandView, make_trace, random_routing

NUM_BANKS, NUM_EXPERTS, TOP_K = 3, 4, 2
COUNTS = np.array([5, 9, 9, 1, 0, 2, 8, 3, 7, 7, 6, 4], np.int64)  # by key: three banks of four


def lay_out(
    num_slots: int,
    *,
    eviction: str = "lru",
    scope: str = "per_layer",
    placement: str = "none",
    staging: int = 0,
    low: int = 0,
) -> tuple[ExpertCache, list[int]]:
    """Lay out a cache of three banks of four experts; return it, and the keys that are resident."""
    view = HandView([[0]], num_layers=NUM_BANKS, num_experts=NUM_EXPERTS, top_k=TOP_K, shared_bank=False)
    view.counts = COUNTS
    cache = lay_out_cache(
        view=view,
        make_eviction=lambda: EVICTION[eviction](view),
        placement=PLACEMENT[placement](view),
        split=SLOTS["equal"](view),
        size=CacheSize(experts=num_slots, staging=staging, low=low),
        scope=scope,
        held=view.held,
    )
    return cache, [key for key in range(NUM_BANKS * NUM_EXPERTS) if cache.state[key] == RESIDENT]


def room(num_slots: int, scope: str) -> Room:
    """Return the room of an equal split."""
    return Room(num_slots=num_slots, of_bank=None if scope == "global" else split_slots(num_slots, NUM_BANKS))


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
        (5, "per_layer", [1, 2, 6, 7, 8]),  # two, two, one: bank after bank
        (0, "global", []),
        (12, "global", [1, 2, 6, 8, 9, 10, 0, 11, 7, 5, 3, 4]),
    ],
)
def test_the_most_popular(num_slots: int, scope: str, expected: list[int]) -> None:
    """Most popular first; ties go to the lowest key; each bank its share where slots are per layer."""
    assert most_popular(COUNTS, room(num_slots, scope)) == expected


def test_the_default_start_is_an_empty_cache() -> None:
    """Nothing is resident."""
    cache, resident = lay_out(8)
    assert resident == []
    assert pool_sizes(cache) == [3, 3, 2]
    assert (cache.num_slots, cache.num_occupied(), cache.num_pinned) == (8, 0, 0)


def test_a_global_scope_is_one_pool() -> None:
    """All experts compete for all slots."""
    cache, _ = lay_out(8, scope="global")
    assert pool_sizes(cache) == [8]
    for key in (0, 1, 2, 3, 4, 5, 6, 7):
        assert cache.take_slot(key)
    assert not cache.take_slot(8)


def test_pools_per_layer_do_not_compete() -> None:
    """A full bank evicts its own, whatever is free elsewhere."""
    cache, _ = lay_out(6)
    assert cache.take_slot(0)
    assert cache.take_slot(1)
    assert not cache.take_slot(2)
    assert cache.take_slot(4)


@pytest.mark.parametrize(("scope", "expected"), [("per_layer", [1, 2, 6, 7, 8]), ("global", [1, 2, 6, 8, 9])])
def test_a_popular_start_is_warm_but_not_pinned(scope: str, expected: list[int]) -> None:
    """The most popular experts fill the slots; the least popular of them is the least recently used."""
    cache, resident = lay_out(5, scope=scope, placement="popular")
    assert resident == expected
    assert cache.num_pinned == 0
    assert cache.take_slot(0)
    assert cache.evicted == (2 if scope == "per_layer" else 9)


@pytest.mark.parametrize("scope", ["per_layer", "global"])
def test_pinned_experts_lie_beside_one_pool_for_the_rest(scope: str) -> None:
    """All slots but top-k are pinned; the others serve all layers, first in, first out."""
    cache, resident = lay_out(7, eviction="fifo", placement="pinned_popular", scope=scope)
    assert resident == sorted(most_popular(COUNTS, room(5, scope)))
    assert (cache.num_slots, cache.num_pinned) == (7, 5)
    assert pool_sizes(cache) == [TOP_K]
    fetched = [key for key in range(12) if key not in resident]
    evicted = []
    for key in fetched:
        assert cache.take_slot(key)
        cache.held.clear()
        evicted.append(cache.evicted)
    assert evicted == [None, None, *fetched[:-2]]
    assert all(cache.state[key] == RESIDENT for key in resident)


def test_no_more_slots_than_the_working_set_pin_nothing() -> None:
    """Slots for one token's experts are all left for fetches."""
    cache, resident = lay_out(TOP_K, eviction="fifo", placement="pinned_popular", scope="global")
    assert resident == []
    assert (cache.num_pinned, pool_sizes(cache)) == (0, [TOP_K])


@pytest.mark.parametrize(("scope", "sizes"), [("per_layer", [2, 2, 1, 2, 1, 1]), ("global", [5, 4])])
def test_staging_slots_and_low_precision_copies_are_beside_the_pools(scope: str, sizes: list[int]) -> None:
    """Copies have keys and pools of their own, divided as the others are; staging slots are for all."""
    cache, _ = lay_out(5, scope=scope, staging=2, low=4)
    assert pool_sizes(cache) == sizes
    assert (cache.num_slots, cache.num_staging) == (11, 2)
    assert all(cache.stage(key) for key in (0, 11))
    assert not cache.stage(5)
    num_low = 0
    for key in range(12, 24):
        num_low += cache.take_slot(key)
    assert num_low == 4
    assert cache.num_occupied() == 6


@pytest.mark.parametrize("num_banks", [1, 3, 5])
def test_the_smallest_cache_holds_a_token_in_all_and_an_expert_of_each_bank(num_banks: int) -> None:
    """Per layer, each bank needs a slot of its own; one pool for all needs top-k."""
    assert smallest_cache(num_banks=num_banks, top_k=TOP_K, scope="per_layer") == max(TOP_K, num_banks)
    assert smallest_cache(num_banks=num_banks, top_k=TOP_K, scope="global") == TOP_K
