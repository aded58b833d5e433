"""Each placement on a model of three banks of four experts, worked out by hand."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cache import split_slots
from simulator.placement import PLACEMENT, Residents, Room
from simulator.placement.staging import without
from simulator.training import Training
from tests.hand_made import HandView, make_trace, random_routing

COUNTS = np.array([5, 9, 9, 1, 0, 2, 8, 3, 7, 7, 6, 4], np.int64)  # by key: three banks of four


def make_view(training: Training | None = None) -> HandView:
    """Make a view of three banks of four experts, top-2, with stated popularity."""
    view = HandView(num_layers=3, num_experts=4, top_k=2, training=training, shared_bank=False)
    view.counts = COUNTS
    return view


def anywhere(num_slots: int) -> Room:
    """Slots for which all banks compete."""
    return Room(num_slots=num_slots, of_bank=None)


def per_bank(*of_bank: int) -> Room:
    """Slots of each bank."""
    return Room(num_slots=sum(of_bank), of_bank=of_bank)


def test_none_is_a_cold_start() -> None:
    """Nothing is resident, and the pools are as they would be."""
    assert PLACEMENT["none"](make_view()).place(per_bank(4, 4, 4)) == Residents()


@pytest.mark.parametrize(
    ("room", "warm"),
    [
        (anywhere(5), [9, 8, 6, 2, 1]),  # 7 7 8 9 9
        (anywhere(4), [8, 6, 2, 1]),  # of two experts with 7 tokens, the lower key
        (per_bank(2, 2, 1), [8, 7, 6, 2, 1]),
        (per_bank(1, 3, 0), [5, 7, 6, 1]),
        (anywhere(0), []),
        (anywhere(12), [4, 3, 5, 7, 11, 0, 10, 9, 8, 6, 2, 1]),
    ],
)
def test_popular_is_warm_with_the_most_popular_last(room: Room, warm: list[int]) -> None:
    """They may be evicted, and each bank has its own share where slots are per bank."""
    assert PLACEMENT["popular"](make_view()).place(room) == Residents(warm=warm)


@pytest.mark.parametrize(
    ("room", "pinned"),
    [
        (anywhere(7), [1, 2, 6, 8, 9]),
        (per_bank(3, 2, 2), [1, 2, 6, 7, 8]),  # five are left to pin: two, two, one
        (per_bank(4, 1, 0), [1, 2, 6]),  # the largest bank gives up both
        (anywhere(2), []),
        (per_bank(1, 1, 0), []),
    ],
)
def test_pinned_popular_leaves_top_k_slots(room: Room, pinned: list[int]) -> None:
    """By popularity within what each bank has left, or among all."""
    expected = Residents(pinned=pinned, shares_rest=True)
    assert PLACEMENT["pinned_popular"](make_view()).place(room) == expected


def test_pinned_popular_may_fill_all_slots() -> None:
    """Where nothing is ever fetched."""
    residents = PLACEMENT["pinned_popular"](make_view(), staging=0).place(per_bank(1, 2, 1))
    assert residents.pinned == [1, 6, 7, 8]


def test_frequency_ignores_whose_slots_they_are() -> None:
    """The most popular of all banks together."""
    view = make_view()
    assert PLACEMENT["frequency"](view, staging=0).place(per_bank(2, 2, 1)).pinned == [1, 2, 6, 8, 9]
    assert PLACEMENT["frequency"](view).place(anywhere(7)).pinned == [1, 2, 6, 8, 9]


@pytest.mark.parametrize(
    ("num_slots", "front", "back", "front_loading", "uniform"),
    [
        (3, [], [], [0, 1, 2], [0, 4, 8]),
        (4, [0, 1, 2, 3], [8, 9, 10, 11], [0, 1, 2, 3], [0, 1, 4, 8]),
        (9, [0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 4, 5, 6, 7], range(9), [0, 1, 2, 4, 5, 6, 8, 9, 10]),
        (12, range(12), [8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3], range(12), range(12)),
    ],
)
def test_placements_by_number(
    num_slots: int,
    front: Sequence[int],
    back: Sequence[int],
    front_loading: Sequence[int],
    uniform: Sequence[int],
) -> None:
    """Whole layers from either end; layers filled from the front; the same number of each layer."""
    expected = {"front": front, "back": back, "front_loading": front_loading, "uniform": uniform}
    for name, pinned in expected.items():
        for room in (anywhere(num_slots), Room(num_slots=num_slots, of_bank=split_slots(num_slots, 3))):
            residents = PLACEMENT[name](make_view(), staging=0).place(room)
            assert residents == Residents(pinned=list(pinned), shares_rest=True), name
        assert PLACEMENT[name](make_view()).place(anywhere(num_slots + 2)).pinned == list(pinned)


def test_random_draws_from_all_banks() -> None:
    """Over many draws every expert is pinned about as often as any other."""
    view = make_view()
    counts = np.zeros(12, np.int64)
    for _ in range(600):
        counts[PLACEMENT["random"](view, staging=0).place(anywhere(3)).pinned] += 1
    assert counts.sum() == 1800
    assert ((counts > 100) & (counts < 200)).all()  # 150 on average, with a deviation of 11


def test_affinity_prefers_a_chain_of_experts_to_a_popular_one(tmp_path: Path) -> None:
    """Five tokens go 0 -> 1 -> 2; six go through 3 in the second layer, from three experts to three others, two each.

    With an expert of each layer, the chain keeps ten transitions, any choice with the popular 3 four at most. With two of
    each, the chain and one path through 3 are best: fourteen.
    """
    tokens = [[[0], [1], [2]]] * 5 + [[[1], [3], [0]], [[2], [3], [1]], [[3], [3], [3]]] * 2
    trace = make_trace(tmp_path / "t.safetensors", [tokens], num_experts=4)
    policy = PLACEMENT["affinity"](make_view(Training(trace, [0])), staging=0)
    assert policy.place(anywhere(3)).pinned == [0, 4 + 1, 8 + 2]
    assert policy.place(anywhere(6)).pinned == [0, 1, 4 + 1, 4 + 3, 8 + 0, 8 + 2]


tokens_of_three_layers = st.lists(
    st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2, unique=True), min_size=3, max_size=3),
    min_size=1,
    max_size=12,
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    tokens=tokens_of_three_layers,
    banks=st.sampled_from([(0, 1, 2), (0, 1, 0), (0, 0, 0)]),
    num_slots=st.integers(0, 12),
)
def test_affinity_against_a_recount(tokens: list[list[list[int]]], banks: tuple[int, ...], num_slots: int) -> None:
    """The mass of every candidate is counted anew, token by token, before each drop."""
    with tempfile.TemporaryDirectory() as folder:
        trace = make_trace(Path(folder) / "t.safetensors", [tokens], num_experts=4, banks=banks)
        training = Training(trace, [0])
    view = HandView(num_layers=3, num_experts=4, training=training)
    view.num_keys = 4 * (max(banks) + 1)
    view.first_key = lambda layer: 4 * banks[layer]  # type: ignore[method-assign]
    steps = [
        (one, other)
        for token in training.keys_TLK.tolist()
        for layer in (0, 1)
        for one in token[layer]
        for other in token[layer + 1]
    ]
    left = set(range(view.num_keys))
    shares = split_slots(min(num_slots, view.num_keys), max(banks) + 1)

    def rank(key: int) -> tuple[int, int, int]:
        mass = sum(one in left and other in left and key in (one, other) for one, other in steps)
        return mass, int(training.popularity()[key]), -key

    while too_many := [key for key in left if sum(other // 4 == key // 4 for other in left) > shares[key // 4]]:
        left.remove(min(too_many, key=rank))
    room = anywhere(min(num_slots, view.num_keys))
    assert PLACEMENT["affinity"](view, staging=0).place(room).pinned == sorted(left)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(num_slots=st.integers(0, 40), num_banks=st.integers(1, 7), staging=st.integers(0, 45))
def test_setting_slots_aside_keeps_an_equal_split_equal(num_slots: int, num_banks: int, staging: int) -> None:
    """What is left of an equal split is the equal split of what is left."""
    left = without(staging, Room(num_slots=num_slots, of_bank=split_slots(num_slots, num_banks)))
    assert left.num_slots == max(0, num_slots - staging)
    assert left.of_bank == split_slots(left.num_slots, num_banks)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    counts=st.lists(st.integers(0, 5), min_size=12, max_size=12),
    of_bank=st.tuples(*[st.integers(0, 4)] * 3),
)
def test_popular_against_a_search(counts: list[int], of_bank: tuple[int, int, int]) -> None:
    """Bank by bank, the next most popular is looked for among those not yet taken."""
    view = make_view()
    view.counts = np.array(counts, np.int64)
    expected: list[int] = []
    for bank, num_slots in enumerate(of_bank):
        rest = list(range(4 * bank, 4 * bank + 4))
        for _ in range(num_slots):
            best = next(key for key in rest if counts[key] == max(counts[other] for other in rest))
            expected.append(best)
            rest.remove(best)
    assert PLACEMENT["popular"](view).place(per_bank(*of_bank)).warm == expected[::-1]
    assert PLACEMENT["pinned_popular"](view, staging=0).place(per_bank(*of_bank)).pinned == expected


def test_affinity_needs_training() -> None:
    """The fault says so as the policy is built."""
    with pytest.raises(ValueError, match="learns from recorded routing"):
        PLACEMENT["affinity"](make_view())


def test_popularity_of_training_counts_for_placements(tmp_path: Path) -> None:
    """Without stated counts, those of the training's tokens."""
    routing = random_routing(2, lengths=[30], num_layers=3, num_experts=4, top_k=2)
    training = Training(make_trace(tmp_path / "t.safetensors", routing, num_experts=4), [0])
    view = HandView(num_layers=3, num_experts=4, top_k=2, training=training, shared_bank=False)
    best = int(np.argmax(training.popularity()))
    assert PLACEMENT["frequency"](view, staging=0).place(anywhere(1)).pinned == [best]
