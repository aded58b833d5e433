"""Which resident expert stands in for a missing one, on worked examples."""

from pathlib import Path

import numpy as np
import pytest

from simulator.miss.daop import Daop
from simulator.miss.masked import Masked
from simulator.miss.protocol import MissAction
from simulator.miss.substitute_low_score import SubstituteLowScore
from tests.miss.by_hand import TokenView, learn_from

PAIRS = [[0, 1]] * 2 + [[0, 2]] * 4 + [[3, 4]] * 9


@pytest.fixture
def view(tmp_path: Path) -> TokenView:
    """0 is active with 2 four times and with 1 twice; 3 and 4 are the most popular, then 0, 2, 1."""
    training = learn_from(tmp_path / "t.safetensors", [[[pair] for pair in PAIRS]], num_experts=8)
    return TokenView(training=training)


def test_low_scores_alone_are_substituted(view: TokenView) -> None:
    """A share of .2 or more keeps its expert; below, the partner most often active with it stands in."""
    view.resident = {1, 2, 4}
    view.show([[5, 0], [5, 0], [0, 5]], [[0.8, 0.2], [0.875, 0.125], [0.875, 0.125]])
    policy = SubstituteLowScore(view)
    assert policy.reroute() == [[5, 0], [5, 2], [0, 4]]  # 5 is active with none: the most popular stands in
    assert [policy.similarity(0, substitute) for substitute in (2, 1, 4)] == [1, 0.5, 0]
    assert SubstituteLowScore(view, by="popularity").reroute() == [[5, 0], [5, 4], [0, 4]]
    assert SubstituteLowScore(view, below=0.21).reroute()[0] == [5, 2]
    assert SubstituteLowScore(view, otherwise="cpu").decide([5], [1]) == [MissAction.CPU]


def test_a_mask_leaves_no_miss(view: TokenView) -> None:
    """Each missing pick takes the most popular resident that the token does not use: 4, then 2, then 1."""
    view.resident, view.in_flight = {1, 2, 4}, {6}
    view.show([[5, 0], [4, 0], [6, 7], [4, 2]])
    policy = Masked(view)
    assert policy.reroute() == [[4, 2], [4, 2], [6, 4], [4, 2]]
    assert policy.similarity(0, 2) == 0
    assert Masked(view, by="co_activation").reroute()[0] == [4, 2]
    assert Masked(view, by="co_activation").similarity(0, 1) == 0.5


def test_a_mask_of_too_few(view: TokenView) -> None:
    """With one resident, the stronger pick takes it and the other misses."""
    view.resident = {4}
    view.show([[5, 0]])
    policy = Masked(view)
    assert policy.reroute() == [[4, 0]]
    assert policy.decide([0], [1]) == [MissAction.FETCH]


@pytest.fixture
def layers() -> TokenView:
    """Two layers of eight experts, popular by falling number."""
    view = TokenView(num_layers=2)
    view.counts = np.arange(16, dtype=np.int64)
    return view


def test_daop_takes_the_predicted_experts(layers: TokenView) -> None:
    """10 and 11 are predicted and missing: the weaker gives way to 13, the most popular resident; 10 starts early."""
    layers.resident = {12, 13}
    policy = Daop(layers, first_layer=1)
    layers.predicted = [[10, 11], [10, 12]]
    layers.show([[0, 1], [2, 3]], visit=0)
    policy.at_gate()
    assert policy.reroute() == [[0, 1], [2, 3]]
    assert policy.start_early() == {10: 2}
    layers.show([[11, 14], [15, 10]], visit=1)
    policy.at_gate()
    assert policy.reroute() == [[10, 13], [12, 10]]  # 10 was picked by the second token indeed, and keeps its place
    assert policy.decide([10], [2]) == [MissAction.CPU]
    assert policy.start_early() == {}


def test_daop_uses_true_gates_early_and_in_prefill(layers: TokenView) -> None:
    """Before the first predicted layer, and in prefill, nothing is planned."""
    for first_layer, is_prefill in ((2, False), (1, True)):
        policy = Daop(layers, first_layer=first_layer)
        layers.is_prefill, layers.predicted = is_prefill, [[10, 11]]
        layers.show([[0, 1]], visit=0)
        policy.at_gate()
        assert policy.start_early() == {}
        layers.show([[8, 9]], visit=1)
        policy.at_gate()
        assert policy.reroute() == [[8, 9]]


def test_daop_keeps_two_on_the_cpu_where_nothing_is_resident(layers: TokenView) -> None:
    """There is nothing to give way to."""
    policy = Daop(layers, first_layer=1)
    layers.predicted = [[10, 11]]
    layers.show([[0, 1]], visit=0)
    policy.at_gate()
    assert policy.start_early() == {10: 1, 11: 1}
