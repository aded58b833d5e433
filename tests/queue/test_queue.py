"""What every queue discipline must do, and what each does. A policy added to QUEUE is tested here at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.queue import QUEUE
from simulator.queue.purge import PurgePassed
from tests.hand_made import HandView

NUM_LAYERS, NUM_EXPERTS = 4, 5


def view_at(visit: int, *, shared_bank: bool = False) -> HandView:
    """Make a view of four layers of five experts at a visit."""
    view = HandView(num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, shared_bank=shared_bank)
    view.oracle.visit = visit
    return view


@pytest.mark.parametrize("name", QUEUE)
@pytest.mark.parametrize("shared_bank", [False, True])
@settings(derandomize=True, deadline=None, max_examples=60)
@given(visit=st.integers(0, 11), queued=st.lists(st.integers(0, 19), unique=True, max_size=8))
def test_names_prefetches_that_wait(name: str, shared_bank: bool, visit: int, queued: list[int]) -> None:
    """Each at most once, and the same ones each time; the queue itself is not touched."""
    view = view_at(visit, shared_bank=shared_bank)
    queued = sorted({key % view.num_keys for key in queued})
    before = list(queued)
    policy = QUEUE[name](view)
    stale = list(policy.stale(queued, []))
    assert queued == before
    assert len(set(stale)) == len(stale)
    assert set(stale) <= set(queued)
    assert list(policy.stale(queued, [])) == stale


def test_keep_and_purge_all() -> None:
    """Nothing, and everything."""
    view = view_at(1)
    assert list(QUEUE["keep"](view).stale([7, 3, 19], [6])) == []
    assert list(QUEUE["purge_all"](view).stale([7, 3, 19], [6])) == [7, 3, 19]


@pytest.mark.parametrize(
    ("visit", "reach", "stale"),
    [
        (0, 0, [1]),  # layer 0 has been gated: 1 was not asked for
        (2, 0, [11, 1, 6]),
        (3, 0, [11, 1, 16, 6]),
        (7, 0, [11, 1, 16, 6]),  # the second step's last gate
        (2, 1, [11, 1, 6]),  # one ahead is layer 3, of this step
        (2, 2, [11, 6]),  # two ahead is layer 0 of the next
        (3, 1, [11, 16, 6]),
        (3, 3, [16]),
        (0, 3, [1]),
    ],
)
def test_purge_passed(visit: int, reach: int, stale: list[int]) -> None:
    """Prefetches wait for layers 2, 0, 3 and 1, five experts each."""
    policy = QUEUE["purge_passed"](view_at(visit), reach=reach)
    assert list(policy.stale([11, 1, 16, 6], [])) == stale


def test_purge_passed_keeps_what_a_later_round_of_the_same_bank_may_want() -> None:
    """Rounds over one bank: only after the last gate of a step is anything late."""
    for visit, stale in ((0, []), (2, []), (3, [4, 1])):
        assert list(QUEUE["purge_passed"](view_at(visit, shared_bank=True)).stale([4, 1], [])) == stale


def test_purge_passed_knows_low_precision_copies() -> None:
    """A copy's key is that of the expert plus the number of keys."""
    assert list(QUEUE["purge_passed"](view_at(1)).stale([20 + 6, 20 + 11], [])) == [26]


@pytest.mark.parametrize("reach", [-1, 4])
def test_purge_passed_refuses_to_reach_nowhere_or_round(reach: int) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=f"reach is {reach}; it should be 0 layers or more and below the model's 4"):
        PurgePassed(view_at(0), reach=reach)
