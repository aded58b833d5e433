"""Activation paths against a table made by hand."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.prefetch.counting import UNIT
from simulator.prefetch.edgemoe import EdgeMoE, fit_paths
from simulator.training import Training
from tests.hand_made import HandView, Routing, random_routing
from tests.prefetch.routing import decisions, training_of, view_of

NUM_EXPERTS = 4


def test_two_layers_tell_more_than_one(tmp_path: Path) -> None:
    """After 0, 1 comes 2; after 1, 1 comes 3 or, less often, 0: what the second layer alone could not tell."""
    paths = [[[0], [1], [2]], [[1], [1], [3]], [[1], [1], [3]], [[1], [1], [0]], [[2], [0], [1]]]
    training = training_of(tmp_path, [paths], num_experts=NUM_EXPERTS)
    view = view_of(training, [[0], [5], [10], [1], [5], [11], [2], [5], [8]])
    assert decisions(EdgeMoE(view, experts=2), view) == [
        *([[], [5], [], [10], [], [], []]),
        *([[], [5], [], [11, 8], [], [], []]),
        *([[], [4], [], [], [], [], []]),  # nobody has gone from 2 to 1
    ]


@pytest.fixture(scope="module")
def routing() -> Routing:
    """Return two random sequences of three layers."""
    return random_routing(5, lengths=[20, 15], num_layers=3, num_experts=NUM_EXPERTS, top_k=2)


@pytest.fixture(scope="module")
def training(routing: Routing, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Return a training on them."""
    return training_of(tmp_path_factory.mktemp("paths"), routing, num_experts=NUM_EXPERTS)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    pairs=st.lists(st.tuples(st.integers(0, NUM_EXPERTS - 1), st.integers(0, NUM_EXPERTS - 1)), max_size=6),
    ranks=st.integers(1, 2),
)
def test_shares_are_those_that_a_scan_finds(
    routing: Routing, training: Training, pairs: list[tuple[int, int]], ranks: int
) -> None:
    """Of the tokens that took a pair, the share that picked each expert next, added up over pairs."""
    table = training.fitted(fit_paths, ranks=ranks)[1]
    expected = [0] * NUM_EXPERTS
    for a, b in pairs:
        took = [t for tokens in routing for t in tokens if a in t[0][:ranks] and b in t[1][:ranks]]
        for expert in range(NUM_EXPERTS) if took else ():
            expected[expert] += round(UNIT * sum(expert in token[2] for token in took) / len(took))
    assert table.scores([a * NUM_EXPERTS + b for a, b in pairs]).tolist() == expected


@pytest.mark.parametrize("name", ["experts", "ranks"])
def test_refuses_to_look_nothing_up(name: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=f"{name} is 0; it should be 1 or more"):
        EdgeMoE(HandView(), **{name: 0})
