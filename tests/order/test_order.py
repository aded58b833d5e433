"""What every order must do, and what each does. A policy added to ORDER is tested here at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.order import ORDER
from tests.hand_made import HandView

tokens = st.lists(
    st.lists(st.integers(0, 9), min_size=3, max_size=3, unique=True).flatmap(
        lambda keys: st.tuples(st.just(keys), st.lists(st.integers(1, 4), min_size=3, max_size=3))
    ),
    min_size=1,
    max_size=5,
)
Tokens = list[tuple[list[int], list[int]]]


def arranged(name: str, batch: Tokens) -> tuple[list[int], list[int], list[int]]:
    """Return (S, tokens of each, S as arranged) for tokens with picks and weights."""
    view = HandView()
    view.tokens = [keys for keys, _ in batch]
    view.gate_weights = [weights for _, weights in batch]
    picks = [key for keys, _ in batch for key in keys]
    keys = list(dict.fromkeys(picks))
    counts = [picks.count(key) for key in keys]
    return keys, counts, list(ORDER[name](view).arrange(keys, counts))


@pytest.mark.parametrize("name", ORDER)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(batch=tokens)
def test_names_each_expert_once(name: str, batch: Tokens) -> None:
    """Nothing is lost or added, what was given is left as it was, and the same comes out each time."""
    keys, counts, order = arranged(name, batch)
    assert sorted(order) == sorted(keys)
    assert arranged(name, batch) == (keys, counts, order)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(batch=tokens)
def test_orders_follow_their_definitions(batch: Tokens) -> None:
    """Each repeatedly takes the best of those left, ties to the first to appear."""
    keys, counts, _ = arranged("first_appearance", batch)
    mass = {key: sum(row[its.index(key)] for its, row in batch if key in its) for key in keys}
    load = dict(zip(keys, counts, strict=True))

    def best_first(score: dict[int, int]) -> list[int]:
        left, order = list(keys), []
        while left:
            best = next(key for key in left if score[key] == max(score[other] for other in left))
            order.append(best)
            left.remove(best)
        return order

    expected = {
        "first_appearance": keys,
        "by_load": best_first(load),
        "by_load_ascending": best_first({key: -count for key, count in load.items()}),
        "by_weight": best_first(mass),
        "by_id": sorted(keys),
        "in_turn": sorted(keys),
    }
    assert {name: arranged(name, batch)[2] for name in ORDER} == expected


def test_only_in_turn_makes_resident_experts_wait() -> None:
    """The executor asks for the attribute."""
    assert [name for name, make in ORDER.items() if getattr(make(HandView()), "IN_TURN", False)] == ["in_turn"]


def test_by_weight_says_that_it_reads_gate_weights() -> None:
    """A trace without is refused as the policy is built."""
    view = HandView()
    asked = []
    view.require_gate_weights = lambda: asked.append(True)  # type: ignore[method-assign]
    for name in ORDER:
        ORDER[name](view)
    assert asked == [True]


def test_by_weight_of_an_expert_that_nobody_picked() -> None:
    """A substitute goes last."""
    view = HandView()
    view.tokens, view.gate_weights = [[4, 2]], [[0.7, 0.3]]
    assert list(ORDER["by_weight"](view).arrange([9, 2, 4], [1, 1, 1])) == [4, 2, 9]
