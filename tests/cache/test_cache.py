"""Slots: who has one, who loses one, and how they are divided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cache import ABSENT, IN_FLIGHT, RESIDENT, ExpertCache, Pool, split_slots
from simulator.eviction import EVICTION
from tests.eviction.single_accesses import recorded_routing
from tests.hand_made import HandView

NUM_KEYS = 10


def one_pool(num_slots: int, name: str = "lru") -> tuple[ExpertCache, HandView]:
    """Make a cache of one pool over ten keys."""
    view = HandView([[key] for key in range(NUM_KEYS)])
    pool = Pool(num_slots=num_slots, free_slots=num_slots, eviction=EVICTION[name](view))
    return ExpertCache(pool_of_key=[pool] * NUM_KEYS, held=view.held), view


@pytest.mark.parametrize(
    ("num_slots", "num_banks", "expected"),
    [(8, 4, [2, 2, 2, 2]), (10, 4, [3, 3, 2, 2]), (3, 4, [1, 1, 1, 0]), (0, 2, [0, 0]), (7, 1, [7])],
)
def test_slots_are_split_evenly_and_the_rest_goes_to_the_first_banks(
    num_slots: int, num_banks: int, expected: list[int]
) -> None:
    """floor(N / banks) each, and one more for the first N mod banks."""
    assert split_slots(num_slots, num_banks) == expected


def test_a_slot_is_taken_at_once_and_the_expert_is_in_flight() -> None:
    """Until the transfer ends, the expert is neither absent nor resident, and cannot be evicted."""
    cache, view = one_pool(2)
    assert cache.take_slot(4)
    assert cache.state[4] == IN_FLIGHT
    assert cache.evicted is None
    assert view.held == {4}
    assert cache.num_occupied() == 1


def test_a_full_pool_evicts_its_victim() -> None:
    """The least recently used expert loses its slot, and `evicted` names it; the number taken stays the same."""
    cache, view = one_pool(2)
    for key in (4, 5):
        cache.take_slot(key)
        cache.state[key] = RESIDENT
    view.held.clear()
    cache.touch_of_key[4](4)
    assert cache.take_slot(6)
    assert cache.evicted == 5
    assert [cache.state[key] for key in (4, 5, 6)] == [RESIDENT, ABSENT, IN_FLIGHT]
    assert cache.num_occupied() == 2


def test_evicted_tells_of_the_last_slot_alone() -> None:
    """After an eviction in one pool, a free slot in another has cost nobody a slot."""
    view = HandView()
    pools = [Pool(num_slots=1, free_slots=1, eviction=EVICTION["lru"](view)) for _ in range(2)]
    cache = ExpertCache(pool_of_key=[pools[0], pools[0], pools[1]], held=view.held)
    cache.take_slot(0)
    view.held.clear()
    cache.take_slot(1)
    assert cache.evicted == 0
    cache.take_slot(2)
    assert cache.evicted is None


def test_where_all_are_held_no_slot_can_be_had() -> None:
    """The cache says so and changes nothing."""
    cache, view = one_pool(2)
    cache.take_slot(4)
    cache.take_slot(5)
    assert not cache.take_slot(6)
    assert cache.state[6] == ABSENT
    assert view.held == {4, 5}
    view.held.discard(4)
    assert cache.take_slot(6)
    assert cache.evicted == 4


def test_warm_fills_the_pool_in_order_and_no_further() -> None:
    """What is warm is resident without a transfer and may be evicted, the first of it first."""
    cache, view = one_pool(2)
    cache.warm([7, 7, 3, 5])
    assert [key for key in range(NUM_KEYS) if cache.state[key] == RESIDENT] == [3, 7]
    assert view.held == set()
    assert cache.take_slot(1)
    assert cache.evicted == 7


def test_pinned_experts_take_no_slot_and_stay() -> None:
    """They count towards the capacity, are touched without effect, and are never a victim."""
    cache, view = one_pool(1)
    cache.pin([8, 9])
    assert cache.num_slots == 3
    assert cache.num_occupied() == 2
    cache.touch_of_key[8](8)
    assert cache.take_slot(0)
    view.held.clear()
    assert cache.take_slot(1)
    assert cache.evicted == 0
    assert [cache.state[key] for key in (8, 9)] == [RESIDENT, RESIDENT]


@pytest.mark.parametrize("name", EVICTION)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 3), min_size=2, max_size=2),
    pinned=st.sets(st.integers(0, NUM_KEYS - 1), max_size=3),
    operations=st.lists(
        st.tuples(st.sampled_from(["want", "want", "arrive", "hold", "release"]), st.integers(0, NUM_KEYS - 1)),
        max_size=80,
    ),
)
def test_capacity_is_never_exceeded(
    name: str, sizes: list[int], pinned: set[int], operations: list[tuple[str, int]]
) -> None:
    """At every moment each pool holds at most its slots, counts agree with states, and what is held stays."""
    view = HandView([[key] for key in range(NUM_KEYS)], num_experts=NUM_KEYS, training=recorded_routing(NUM_KEYS))
    pools = [Pool(num_slots=size, free_slots=size, eviction=EVICTION[name](view)) for size in sizes]
    cache = ExpertCache(pool_of_key=[pools[key % 2] for key in range(NUM_KEYS)], held=view.held)
    cache.pin(sorted(pinned))
    assert cache.num_slots == sum(sizes) + len(pinned)
    for operation, key in operations:
        held_before = {held for held in view.held if cache.state[held] != ABSENT}
        if operation == "want":
            if cache.state[key] == ABSENT:
                cache.take_slot(key)
            else:
                cache.touch_of_key[key](key)
        elif operation == "arrive" and cache.state[key] == IN_FLIGHT:
            cache.state[key] = RESIDENT
            view.held.discard(key)
        elif operation == "hold":
            view.held.add(key)
        elif operation == "release" and cache.state[key] != IN_FLIGHT:
            view.held.discard(key)
        assert all(cache.state[held] != ABSENT for held in held_before)
        taken = [
            sum(cache.state[other] != ABSENT for other in range(bank, NUM_KEYS, 2) if other not in pinned)
            for bank in (0, 1)
        ]
        assert all(used <= size for used, size in zip(taken, sizes, strict=True))
        assert cache.num_occupied() == sum(taken) + len(pinned)
        assert np.all(np.frombuffer(cache.state, np.uint8)[sorted(pinned)] == RESIDENT)
