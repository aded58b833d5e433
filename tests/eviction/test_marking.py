"""Marking with one bit per expert, and policies that give slots up."""

from pathlib import Path

import pytest

from simulator.eviction import EVICTION
from simulator.eviction.protocol import GivesUp, ObservesGates
from simulator.training import Training
from tests.eviction.single_accesses import num_hits, skewed_stream
from tests.hand_made import HandView, make_trace


def test_random_victims_are_unmarked_until_a_phase_ends() -> None:
    """With no prediction that tells keys apart, each unmarked key goes before any marked one; then all are unmarked."""
    view = HandView()
    policy = EVICTION["mark_and_predict"](view)
    for key in range(5):
        policy.insert(key)
    first = policy.victim()
    assert first is not None
    policy.remove(first)  # all were marked: a phase begins
    left = [key for key in range(5) if key != first]
    policy.touch(left[0])
    policy.touch(left[2])
    order = []
    for _ in range(2):
        victim = policy.victim()
        assert victim is not None
        policy.remove(victim)
        order.append(victim)
    assert sorted(order) == sorted([left[1], left[3]])
    assert policy.victim() in (left[0], left[2])


def test_chance_reaches_every_unmarked_key() -> None:
    """Over many evictions among four keys each is drawn, as often as not more than a random draw would have it."""
    policy = EVICTION["mark_and_predict"](HandView())
    drawn = dict.fromkeys(range(4), 0)
    for key in range(4):
        policy.insert(key)
    for _ in range(400):
        victim = policy.victim()
        assert victim is not None
        drawn[victim] += 1
        policy.remove(victim)  # a phase begins, or goes on until all are marked again
        policy.insert(victim)
        for key in range(4):
            policy.touch(key)
    assert min(drawn.values()) > 70


def test_the_oracle_says_who_goes() -> None:
    """With three slots the next three distinct keys are 1, 4 and 2: of 1, 2 and 3, unmarked, 3 goes."""
    view = HandView([[3], [2], [1], [0], [1], [4], [2], [3]])
    view.slots_per_layer = 3
    policy = EVICTION["mark_and_predict"](view, predictor="oracle")
    assert isinstance(policy, ObservesGates)
    for visit, key in enumerate((3, 2, 1)):
        view.oracle.visit = visit
        policy.at_gate()
        policy.insert(key)
    view.oracle.visit = 3
    policy.at_gate()
    assert policy.victim() == 3


def test_gates_ahead_say_who_stays() -> None:
    """Layer 0's gate sees that layer 1 will use 5: of 4 and 5 it is 4 that goes, whatever chance says."""
    for seed in range(8):
        view = HandView([[0], [5]], num_layers=2, num_experts=4, shared_bank=False)
        for _ in range(seed):
            view.random()
        policy = EVICTION["mark_and_predict"](view)
        assert isinstance(policy, ObservesGates)
        view.oracle.visit = 0
        policy.at_gate()
        for key in (4, 5):
            policy.insert(key)
        assert policy.victim() == 4


def test_mark0_gives_up_what_is_not_used_soon() -> None:
    """With two slots the next two distinct keys are 1 and 2; 3 is given up, and no phase begins by that."""
    view = HandView([[1], [3], [1], [2], [3]])
    view.slots_per_layer = 2
    policy = EVICTION["mark0"](view, predictor="oracle")
    assert isinstance(policy, ObservesGates)
    assert isinstance(policy, GivesUp)
    for visit in (0, 1):
        view.oracle.visit = visit
        policy.at_gate()
        policy.insert(view.oracle.visits[visit][0])
    assert list(policy.gives_up([1, 3])) == [3]
    policy.remove(3)
    policy.insert(2)
    assert policy.victim() in (1, 2)  # both still marked: chance decides


def test_coactivation_keeps_what_followed(tmp_path: Path) -> None:
    """In training 0 and 1 were followed by 0 and 2. After 0 and 1, with two slots, 0 stays and 1 is given up."""
    trace = make_trace(tmp_path / "trace", [[[[0, 1]], [[0, 2]]]], num_experts=4)
    view = HandView([[0, 1]], num_experts=4, training=Training(trace, [0]))
    view.slots_per_layer = 2
    policy = EVICTION["mark0"](view)
    assert isinstance(policy, ObservesGates)
    assert isinstance(policy, GivesUp)
    view.oracle.visit = 0
    policy.at_gate()
    policy.insert(0)
    policy.insert(1)
    assert list(policy.gives_up([0, 1])) == [1]


@pytest.mark.parametrize("num_slots", [4, 8, 16])
def test_good_bits_help(num_slots: int) -> None:
    """With an oracle's bits, MARK&PREDICT hits more often than with none that tell keys apart."""
    stream = skewed_stream(7, 3000, 32)
    blind = num_hits("mark_and_predict", stream, num_slots)
    assert num_hits("mark_and_predict", stream, num_slots, predictor="oracle") > 1.05 * blind


def test_release_keeps_nothing() -> None:
    """All that has been computed is given up, so that nothing is ever hit."""
    policy = EVICTION["release"](HandView())
    assert isinstance(policy, GivesUp)
    policy.insert(4)
    policy.insert(2)
    assert list(policy.gives_up([2])) == [2]
    policy.remove(2)
    assert policy.victim() == 4
    assert num_hits("release", [1, 1, 1, 2, 2], 2) == 0
