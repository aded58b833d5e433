"""What follows from inter-layer affinity, and from counting anew."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.prefetch.affinity import STEP_START, Affinity, fit_affinity
from simulator.prefetch.counting import UNIT
from simulator.training import Training
from tests.hand_made import HandView, Routing, random_routing
from tests.prefetch.routing import decisions, keys_of, training_of, view_of

NUM_EXPERTS = 5
NUM_LAYERS = 4


@pytest.fixture(scope="module")
def routing() -> Routing:
    """Return three random sequences."""
    return random_routing(3, lengths=[9, 1, 12], num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=2)


@pytest.fixture(scope="module")
def training(routing: Routing, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Return a training on them."""
    return training_of(tmp_path_factory.mktemp("affinity"), routing, num_experts=NUM_EXPERTS)


def test_tables_are_the_shares_that_a_scan_finds(routing: Routing, training: Training) -> None:
    """P(b at layer l+d | a at layer l), and across the step's end within a sequence, without smoothing."""
    tables = fit_affinity(training, distance=2, smoothing=0.0)
    assert sorted(tables) == [(a, b) for a in range(-1, NUM_LAYERS - 1) for b in (a + 1, a + 2) if b < NUM_LAYERS]
    for (layer, target), table in tables.items():
        pairs = [
            (tokens[at - 1][-1] if layer == STEP_START else tokens[at][layer], tokens[at][target])
            for tokens in routing
            for at in range(layer == STEP_START, len(tokens))
        ]
        for a in range(NUM_EXPERTS):
            given_a = [then for given, then in pairs if a in given]
            for b in range(NUM_EXPERTS):
                share = Fraction(sum(b in then for then in given_a), max(1, len(given_a)))
                assert table[a, b] == round(share * UNIT)


def test_smoothing_lets_an_unknown_expert_say_what_is_popular(tmp_path: Path) -> None:
    """A token's worth of the layer's popularity: all that is known after an expert never seen, a third after two tokens."""
    training = training_of(tmp_path, [[[[0], [1]], [[0], [1]], [[1], [2]]]], num_experts=3)
    table = fit_affinity(training, distance=1, smoothing=1.0)[0, 1]
    assert table[2].tolist() == [0, round(UNIT * 2 / 3), round(UNIT / 3)]
    assert table[0].tolist() == [0, round(UNIT * (2 + 2 / 3) / 3), round(UNIT / 9)]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    tokens=st.lists(
        st.lists(st.integers(0, NUM_EXPERTS - 1), min_size=2, max_size=2, unique=True), min_size=1, max_size=9
    ),
    layer=st.integers(0, NUM_LAYERS - 2),
    weighted=st.booleans(),
)
def test_adds_up_over_the_picks_of_all_tokens(
    training: Training, tokens: list[list[int]], layer: int, weighted: bool
) -> None:
    """The keys of highest sum, however many tokens there are, with weights 2/3 and 1/3 or without."""
    view = view_of(training)
    view.tokens = [[layer * NUM_EXPERTS + expert for expert in token] for token in tokens]
    view.oracle.visit = layer
    policy = Affinity(view, weighted=weighted, experts=NUM_EXPERTS)
    table = fit_affinity(training, distance=1, smoothing=1.0)[layer, layer + 1].tolist()
    unit = 1 << 15
    weights = (round(unit * 2 / 3), round(unit / 3)) if weighted else (1, 1)
    sums = [
        sum(weight * table[expert][b] for token in tokens for expert, weight in zip(token, weights, strict=True))
        for b in range(NUM_EXPERTS)
    ]
    ranked = sorted(range(NUM_EXPERTS), key=lambda expert: (-sums[expert], expert))
    assert policy.after_gate([]) == [(layer + 1) * NUM_EXPERTS + expert for expert in ranked]


def test_follows_a_chain_through_layers_and_into_the_next_step(tmp_path: Path) -> None:
    """Expert e leads to e+1 in the next layer and in the next step; an unknown request has no step before."""
    chain = [[[(token * 3 + layer) % 4] for layer in range(3)] for token in range(9)]
    training = training_of(tmp_path, [chain], num_experts=4)
    visits = [visit for token in chain[:2] for visit in keys_of(token, 4)]
    view = view_of(training, visits)
    names = decisions(Affinity(view, distance=2), view)
    assert names == [[], [5, 10], [], [10], [], [], [], *([[3, 4], [4, 9], [], [9], [], [], []])]
    view.oracle.visit = -1
    assert decisions(Affinity(view, wraps=False), view)[7] == []


def test_a_step_starts_from_its_own_requests(tmp_path: Path) -> None:
    """Of the requests that a step holds, and of each its last token alone."""
    chain = [[[token % 4], [token % 4]] for token in range(12)]
    view = view_of(training_of(tmp_path, [chain], num_experts=4))
    policy = Affinity(view)
    view.oracle.visit = 1
    view.tokens, view.request_of_token = [[4], [5], [6]], [7, 7, 9]
    assert policy.after_gate([]) == ()
    view.request_of_token = [7]
    assert policy.at_step_start() == [2]
    view.request_of_token = [9, 7]
    assert sorted(policy.at_step_start()) == [2, 3]
    view.request_of_token = [8]
    assert policy.at_step_start() == []


def test_refuses_negative_smoothing() -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match="smoothing is -1; it should be 0 tokens or more"):
        Affinity(HandView(), smoothing=-1)
