"""A stated recall and precision, measured."""

import random

import pytest

from simulator.prefetch.perfect import Perfect
from simulator.prefetch.stated import Stated
from tests.hand_made import HandView
from tests.prefetch.routing import decisions

NUM_EXPERTS = 32
NUM_LAYERS = 4


def run_of(num_visits: int) -> list[list[int]]:
    """Draw visits of four keys each, a bank per layer."""
    rng = random.Random(2)
    return [
        [visit % NUM_LAYERS * NUM_EXPERTS + expert for expert in rng.sample(range(NUM_EXPERTS), 4)]
        for visit in range(num_visits)
    ]


def view_of(visits: list[list[int]]) -> HandView:
    """Return a view of them."""
    return HandView(visits, num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=4, shared_bank=False)


@pytest.mark.parametrize(("recall", "precision"), [(0.9, 0.8), (0.5, 0.9), (0.3, 0.25), (1.0, 0.5), (0.7, 1.0)])
def test_recall_and_precision_are_as_stated(recall: float, precision: float) -> None:
    """Over 16,000 uses, within five standard deviations; each name is of its layer's bank, and none comes twice."""
    visits = run_of(4000)
    view = view_of(visits)
    policy = Stated(view, recall=recall, precision=precision)
    right = named = 0
    for visit, keys in enumerate(visits):
        view.oracle.visit = visit - 1
        names = policy.after_gate([])
        assert len(set(names)) == len(names)
        assert all(key // NUM_EXPERTS == visit % NUM_LAYERS for key in names)
        right += len(set(names) & set(keys))
        named += len(names)
    uses = 4 * len(visits)
    assert right / uses == pytest.approx(recall, abs=5 * (recall * (1 - recall) / uses) ** 0.5)
    assert right / named == pytest.approx(precision, abs=0.02)
    assert (right == named) == (precision == 1.0)


def test_asking_again_adds_nothing() -> None:
    """What is named for a visit three ahead is what is named for it one ahead, so recall does not add up."""
    view = view_of(run_of(40))
    policy = Stated(view, recall=0.5, precision=0.5, lookahead_layers=3)
    ahead: list[set[int]] = []
    for visit in range(-1, 37):
        view.oracle.visit = visit
        names = policy.after_gate([])
        assert names == policy.after_gate([])
        ahead.append({key for key in names if key // NUM_EXPERTS == (visit + 3) % NUM_LAYERS})
        if visit >= 2:
            assert {key for key in names if key // NUM_EXPERTS == (visit + 1) % NUM_LAYERS} == ahead[-3]


def test_is_perfect_if_it_is_said_to_be() -> None:
    """Recall and precision of 1: what `perfect` names, but for the order within a visit; and no recall names nothing."""
    visits = run_of(12)
    first, second, third = (view_of(visits) for _ in range(3))
    stated = decisions(Stated(first, recall=1.0, precision=1.0, lookahead_layers=2), first)
    assert list(map(sorted, stated)) == list(map(sorted, decisions(Perfect(second, lookahead_layers=2), second)))
    assert not any(decisions(Stated(third, recall=0.0), third))


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"recall": 1.5}, "recall is 1.5; it should be a share from 0 to 1"),
        ({"precision": 0.0}, "precision is 0.0; it should be a share above 0 and up to 1"),
    ],
)
def test_refuses_shares_that_are_none(parameters: dict[str, float], fault: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=fault):
        Stated(HandView(), recall=parameters.get("recall", 0.9), precision=parameters.get("precision", 0.9))


def test_refuses_to_look_nowhere() -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match="lookahead_layers is 0; it should be 1 or more"):
        Stated(HandView(), lookahead_layers=0)
