"""BuddyMoE's lists, gates and choice on worked examples, and against a reference of a few lines."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.miss.buddy import Buddy, activation_entropy
from simulator.miss.co_activation import co_activation
from simulator.miss.protocol import MissAction
from simulator.training import Training
from tests.hand_made import random_routing
from tests.miss.by_hand import TokenView, learn_from

EVEN, PEAKED = [0.5, 0.5], [0.75, 0.25]
PAIRS = [[0, 1]] * 5 + [[0, 2]] * 3 + [[3, 0], [0, 4]] + [[5, 2]] * 10


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """One layer. Expert 0 is active with 1 five times, with 2 three times, with 3 and 4 once; 5 ten times with 2."""
    return learn_from(tmp_path / "t.safetensors", [[[pair] for pair in PAIRS]], num_experts=8)


@pytest.fixture
def view(training: Training) -> TokenView:
    """A view of one layer and its training."""
    return TokenView(training=training)


def test_counts_co_activations(tmp_path: Path) -> None:
    """Against a loop over all tokens and pairs, for layers with banks of their own."""
    routing = random_routing(3, lengths=[30, 9], num_layers=3, num_experts=6, top_k=3)
    training = learn_from(tmp_path / "r.safetensors", routing, num_experts=6)
    counts = co_activation(training)
    tokens = [token for tokens in routing for token in tokens]
    for layer in range(3):
        for i in range(6):
            for j in range(6):
                both = sum(i != j and i in token[layer] and j in token[layer] for token in tokens)
                assert counts[layer, i, j] == both
    assert co_activation(training) is counts


@pytest.mark.parametrize(
    ("alpha", "k_max", "resident", "substitute"),
    [
        (0.9, 16, {1, 2, 3, 4}, 1),
        (0.9, 16, {2, 3, 4}, 2),
        (0.9, 16, {3, 4}, 3),
        (0.9, 16, {4}, None),  # 1, 2 and 3 make up nine tenths
        (0.91, 16, {4}, 4),
        (0.8, 16, {3}, None),
        (0.9, 2, {3}, None),
        (1.0, 16, {6, 7}, None),  # never active with 0
    ],
)
def test_lists_make_up_alpha(
    view: TokenView, alpha: float, k_max: int, resident: set[int], substitute: int | None
) -> None:
    """The fewest of highest q that make up alpha, k_max at most; the first of them that is resident is taken."""
    view.resident = resident | {5}
    view.show([[5, 0]], [EVEN])
    policy = Buddy(view, alpha=alpha, k_max=k_max, eta=0)
    assert policy.reroute() == [[5, 0 if substitute is None else substitute]]


def test_entropy_of_a_token() -> None:
    """-(3/4 ln 3/4 + 1/4 ln 1/4) / ln 2 = 0.811; even is 1, one expert alone 0."""
    assert activation_entropy(PEAKED) == pytest.approx(0.8112781)
    assert activation_entropy([0.25] * 4) == pytest.approx(1)
    assert activation_entropy([1.0, 0.0]) == activation_entropy([1.0]) == 0


def test_a_peaked_token_keeps_its_experts(view: TokenView) -> None:
    """tau .95: weights 3 : 1 have TAE .81 and keep, 65 : 35 .934 and keep, 60 : 40 .971 and are replaced."""
    view.resident = {1, 5}
    view.show([[0, 5], [0, 5], [0, 5]], [PEAKED, [0.65, 0.35], [0.6, 0.4]])
    assert Buddy(view).reroute() == [[0, 5], [0, 5], [1, 5]]
    assert Buddy(view, tau=0.8).reroute() == [[1, 5]] * 3
    view.show([[0, 5]], [[6.0, 4.0]])  # weights that do not add up to 1 are normalised
    assert Buddy(view).reroute() == [[1, 5]]


def test_tau_of_a_percentile(tmp_path: Path) -> None:
    """Half of the layer's TAE in training is that of 7 : 1 (.544), half that of 3 : 1 (.811): the median is the lower."""
    weights = [[[0.875, 0.125]]] * 10 + [[PEAKED]] * 10
    training = learn_from(tmp_path / "w.safetensors", [[[p] for p in PAIRS]], num_experts=8, weights=weights)
    view = TokenView(training=training)
    view.resident = {1, 5}
    view.show([[0, 5], [0, 5]], [[0.875, 0.125], PEAKED])
    assert Buddy(view, tau_percentile=50).reroute() == [[0, 5], [1, 5]]
    assert Buddy(view, tau_percentile=100).reroute() == [[0, 5], [0, 5]]


def test_too_many_missing_bypass_replacement(view: TokenView) -> None:
    """Two of four distinct experts are missing: delta is .5."""
    view.resident = {1, 2, 6, 7}
    view.show([[0, 6], [5, 7]], [EVEN, EVEN])
    assert Buddy(view, beta=0.5).reroute() == [[0, 6], [5, 7]]
    assert Buddy(view, beta=0.51).reroute() == [[1, 6], [2, 7]]


def test_a_token_takes_a_buddy_once_and_rho_of_them(view: TokenView) -> None:
    """0 and 5 both want 2 where 1 is away; the stronger gets it, and 5 has no other buddy."""
    view.top_k = 3
    view.resident = {2, 6}
    view.show([[0, 5, 6]], [[1, 1, 1]])
    policy = Buddy(view, beta=1.1)
    assert policy.reroute() == [[2, 5, 6]]
    assert policy.decide([5], [1]) == [MissAction.FETCH]
    assert Buddy(view, beta=1.1, otherwise="cpu").decide([5], [1]) == [MissAction.CPU]
    view.resident = {1, 2, 6}
    assert Buddy(view, beta=1.1).reroute() == [[1, 2, 6]]
    assert Buddy(view, beta=1.1, rho=1).reroute() == [[1, 5, 6]]


def test_an_expert_in_flight_is_waited_for(view: TokenView) -> None:
    """It is no miss, and no substitute either."""
    view.resident, view.in_flight = {2, 5}, {0, 1}
    view.show([[0, 5]], [EVEN])
    assert Buddy(view).reroute() == [[0, 5]]
    view.in_flight = {1}
    assert Buddy(view, eta=0).reroute() == [[2, 5]]


def test_what_the_token_picks_besides_speaks_for_a_buddy(view: TokenView) -> None:
    """0 misses; 5 is always with 2. Psi(1) = .5 (1 + .25 eta), Psi(2) = .3 (1 + .65 eta): 2 wins beyond eta = 2.86."""
    view.resident = {1, 2, 5}
    view.show([[0, 5]], [EVEN])
    assert Buddy(view, eta=2.8).reroute() == [[1, 5]]
    assert Buddy(view, eta=2.9).reroute() == [[2, 5]]


def test_likeness_is_relative_to_the_best_buddy(view: TokenView) -> None:
    """q(1|0) = .5 is the largest; q(2|0) = .3."""
    policy = Buddy(view)
    assert policy.similarity(0, 1) == policy.similarity(6, 6) == 1
    assert policy.similarity(0, 2) == pytest.approx(0.6)
    assert policy.similarity(0, 5) == policy.similarity(6, 7) == 0


def naive(view: TokenView, tau: float, rho: int) -> list[list[int]]:
    """Replace by counting pairs anew for each pick; alpha is 1, eta 0, and the gate on the step open."""
    result = []
    assert view.gate_weights is not None
    for token, weights in zip(view.picks(), view.weights(), strict=True):
        kept = list(token)
        if activation_entropy([weight / sum(weights) for weight in weights]) > tau:
            for rank, key in enumerate(token):
                if key in view.resident or sum(a != b for a, b in zip(kept, token, strict=True)) == rho:
                    continue
                together = {j: sum({key, j} <= set(pick) for pick in TRIPLES) for j in range(6) if j != key}
                able = [j for j in together if together[j] and j in view.resident and j not in {*kept, *token}]
                if able:
                    kept[rank] = max(able, key=lambda j: (together[j], -j))
        result.append(kept)
    return result


TRIPLES = [token[0] for token in random_routing(8, lengths=[12], num_layers=1, num_experts=6, top_k=3)[0]]


@pytest.fixture(scope="module")
def triples(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training of twelve tokens of three experts out of six."""
    return learn_from(tmp_path_factory.mktemp("b") / "t.safetensors", [[[t] for t in TRIPLES]], num_experts=6)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    tokens=st.lists(st.permutations(range(6)).map(lambda order: order[:3]), min_size=1, max_size=3),
    weights=st.lists(st.integers(1, 9), min_size=9, max_size=9),
    resident=st.sets(st.integers(0, 5)),
    rho=st.integers(1, 3),
)
def test_against_counting_anew(
    triples: Training, tokens: list[list[int]], weights: list[int], resident: set[int], rho: int
) -> None:
    """The same picks as the few lines above."""
    view = TokenView(num_experts=6, top_k=3, training=triples)
    view.resident = resident
    view.show(tokens, [weights[3 * at : 3 * at + 3] for at in range(len(tokens))])
    policy = Buddy(view, alpha=1.0, tau=0.9, beta=1.1, eta=0, rho=rho)
    assert [list(token) for token in policy.reroute()] == naive(view, 0.9, rho)
