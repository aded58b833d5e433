"""Each split against its definition: by hand, by brute force, and against a plain LRU cache."""

import tempfile
from collections import OrderedDict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cache import split_slots
from simulator.slots import SLOTS
from simulator.slots.adapmoe import expected_loads
from simulator.slots.by_misses import lru_misses
from simulator.slots.least_cost import least_cost
from simulator.slots.popularity import Popularity
from simulator.training import Training
from tests.hand_made import HandView, make_trace, random_routing


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    costs=st.integers(1, 4).flatmap(
        lambda num_banks: st.lists(
            st.lists(st.integers(0, 9), min_size=5, max_size=5), min_size=num_banks, max_size=num_banks
        )
    ),
    at_least=st.integers(0, 2),
    draw=st.floats(0, 1),
)
def test_least_cost_against_all_splits(costs: list[list[int]], at_least: int, draw: float) -> None:
    """Of all splits the cheapest; of those the evenest; of those the one with least for the last banks."""
    num_banks = len(costs)
    num_slots = round(num_banks * (at_least + draw * (4 - at_least)))
    best = min(
        (split for split in product(range(at_least, 5), repeat=num_banks) if sum(split) == num_slots),
        key=lambda split: (
            sum(of_bank[slots] for of_bank, slots in zip(costs, split, strict=True)),
            sum(slots * slots for slots in split),
            split[::-1],
        ),
    )
    assert least_cost(np.array(costs, np.int64), num_slots, at_least=at_least) == list(best)


@pytest.mark.parametrize("num_slots", [10, 23, 24, 37, 80])
def test_flat_costs_are_split_evenly(num_slots: int) -> None:
    """As `equal` does: the first banks have one more."""
    split = least_cost(np.zeros((10, 9), np.int64), num_slots, at_least=1)
    assert split == split_slots(num_slots, 10) == SLOTS["equal"](HandView()).split(num_slots, 10)


def test_a_large_model_takes_no_time() -> None:
    """48 banks of 128 experts; with convex costs the best split is that of a greedy choice."""
    rng = np.random.default_rng(3)
    falls = -np.sort(-rng.integers(1, 10**6, (48, 128)), axis=1)
    costs = falls.sum(axis=1)[:, None] - np.concatenate([np.zeros((48, 1), np.int64), falls.cumsum(axis=1)], axis=1)
    split = least_cost(costs, 2000, at_least=0)
    greedy = np.sort(falls.ravel())[::-1][:2000].sum()
    assert sum(int(costs[bank, slots]) for bank, slots in enumerate(split)) == falls.sum() - greedy


@pytest.mark.parametrize("accuracy", [0.0, 0.57, 0.9, 1.0])
@pytest.mark.parametrize("slots", range(9))
def test_expected_loads_are_those_of_the_published_formula(slots: int, accuracy: float) -> None:
    """f1 for one expert, f2 + f3 + f4 for two of eight, as systems.md gives them."""
    both = max(0, (8 - slots) * (7 - slots) / 56)
    f1 = (1 - slots / 8) * (1 - accuracy)
    f2, f3, f4 = 2 * both * (1 - accuracy), both * accuracy, 2 * (8 - slots) * slots / 56 * (1 - accuracy)
    assert expected_loads(slots, 8, 1, accuracy) == pytest.approx(f1, abs=1e-12)
    assert expected_loads(slots, 8, 2, accuracy) == pytest.approx(f2 + f3 + f4, abs=1e-12)


@pytest.mark.parametrize(("num_experts", "top_k"), [(5, 3), (6, 4)])
def test_expected_loads_of_other_shapes(num_experts: int, top_k: int) -> None:
    """Against counting every set of experts that a token may use; the first so many have slots."""
    for slots in range(num_experts + 1):
        sets = [users for users in product((0, 1), repeat=num_experts) if sum(users) == top_k]
        missing = [sum(users[slots:]) for users in sets]
        wrong, right = sum(missing) / len(sets), sum(max(0, count - 1) for count in missing) / len(sets)
        expected = 0.3 * right + 0.7 * wrong
        assert expected_loads(slots, num_experts, top_k, 0.3) == pytest.approx(expected, abs=1e-12)


def test_adapmoe_gives_slots_to_layers_that_lookahead_misses() -> None:
    """The first layer, which nothing predicts, has most; the second next; late layers, all alike, about the same."""
    view = HandView(num_layers=32, num_experts=8, top_k=2, shared_bank=False)
    split = SLOTS["adapmoe"](view).split(128, 32)
    assert split[0] == max(split)
    assert split[0] > split[1] > split[31]
    assert max(split[10:31]) - min(split[10:31]) <= 1


def test_adapmoe_with_one_accuracy_is_even() -> None:
    """Layers that do not differ have the same."""
    view = HandView(num_layers=6, num_experts=8, top_k=2, shared_bank=False)
    for num_slots in (12, 20, 31, 48):
        assert SLOTS["adapmoe"](view, accuracy=0.8).split(num_slots, 6) == split_slots(num_slots, 6)


def test_adapmoe_with_single_experts_takes_slots_from_late_layers() -> None:
    """On Mixtral late layers often use one expert, so they need fewer."""
    view = HandView(num_layers=32, num_experts=8, top_k=2, shared_bank=False)
    both, single = (SLOTS["adapmoe"](view, single=share).split(128, 32) for share in (0.0, -1.0))
    assert sum(single[24:]) < sum(both[24:])


@pytest.mark.parametrize(("name", "value"), [("accuracy", 1.5), ("single", -0.5)])
def test_adapmoe_refuses_what_is_no_share(name: str, value: float) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=f"{name} is {value}; it should be from 0 to 1, or -1"):
        SLOTS["adapmoe"](HandView(), **{name: value})


def lru_by_hand(sets: list[list[int]], num_slots: int) -> int:
    """Count the misses of an LRU cache in which each set is one event, all of it touched in the order of the set."""
    cache: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for keys in sets:
        misses += sum(key not in cache for key in keys)
        for key in keys:
            cache[key] = None
            cache.move_to_end(key)
        while len(cache) > num_slots:
            cache.popitem(last=False)
    return misses


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3))
@pytest.mark.parametrize("banks", [(), (0, 1, 0)])
def test_misses_are_those_of_an_lru_cache(seed: int, lengths: list[int], banks: tuple[int, ...]) -> None:
    """For each bank and number of slots, from a working set on, over all sequences one after the other."""
    routing = random_routing(seed, lengths=lengths, num_layers=3, num_experts=6, top_k=2)
    with tempfile.TemporaryDirectory() as folder:
        trace = make_trace(Path(folder) / "t.safetensors", routing, num_experts=6, banks=banks)
        training = Training(trace, range(len(lengths)))
    view = HandView(num_layers=3, num_experts=6, training=training, shared_bank=False)
    view.first_key = lambda layer: 6 * trace.banks[layer]  # type: ignore[method-assign]
    misses = lru_misses(view)
    assert len(misses) == trace.num_banks
    for bank, of_bank in enumerate(misses):
        sets = [
            ids
            for sequence in routing
            for token in sequence
            for layer, ids in enumerate(token)
            if trace.banks[layer] == bank
        ]
        assert of_bank.tolist()[2:] == [lru_by_hand(sets, num_slots) for num_slots in range(2, 7)]


def test_by_misses_gives_slots_to_the_layer_that_uses_them(tmp_path: Path) -> None:
    """Layer 0 alternates between two experts, layer 1 goes round six: LRU needs two there and all six here.

    Seven slots are too few for both, and the two of layer 0 save more; the other five, which then save nothing, are split
    as evenly as may be.
    """
    tokens = [[[at % 2], [at % 6]] for at in range(60)]
    training = Training(make_trace(tmp_path / "t.safetensors", [tokens], num_experts=6), [0])
    view = HandView(num_layers=2, num_experts=6, top_k=1, training=training, shared_bank=False)
    policy = SLOTS["by_misses"](view)
    assert policy.split(8, 2) == [2, 6]
    assert policy.split(7, 2) == [4, 3]
    assert policy.split(12, 2) == [6, 6]
    assert lru_misses(view).tolist() == [[60, 60, 2, 2, 2, 2, 2], [60, 60, 60, 60, 60, 60, 6]]


def test_popularity_splits_by_the_experts_that_serve_a_share() -> None:
    """Nine tenths of the first bank's tokens take one expert, of the second two, of the third all four but one."""
    view = HandView(num_layers=3, num_experts=4, top_k=1, shared_bank=False)
    view.counts = np.array([1, 96, 1, 2, 50, 0, 0, 50, 30, 30, 30, 10], np.int64)
    policy = Popularity(view)
    assert policy.needs() == [1, 2, 3]
    assert policy.split(6, 3) == [1, 2, 3]
    assert policy.split(3, 3) == [1, 1, 1]
    assert policy.split(4, 3) == [1, 1, 2]  # 1/1, 1/2 and 1/3 of their needs so far
    assert policy.split(8, 3) == [2, 3, 3]  # then all have theirs, and the first comes before the second
    assert policy.split(12, 3) == [4, 4, 4]
    assert Popularity(view, hit_frac=1.0).needs() == [4, 2, 4]


def test_popularity_alike_is_even() -> None:
    """Without any counts as well."""
    view = HandView(num_layers=4, num_experts=8, top_k=2, shared_bank=False)
    for counts in (np.zeros(32, np.int64), np.full(32, 7, np.int64)):
        view.counts = counts
        for num_slots in (8, 13, 22, 32):
            assert SLOTS["popularity"](view).split(num_slots, 4) == split_slots(num_slots, 4)


@pytest.mark.parametrize("hit_frac", [0.0, -0.1, 1.01])
def test_popularity_refuses_what_is_no_share(hit_frac: float) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=f"hit_frac is {hit_frac}; it should be above 0 and up to 1"):
        SLOTS["popularity"](HandView(), hit_frac=hit_frac)
