"""What every way of handling a miss must do. A policy added to MISS is tested here at once."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.eviction.protocol import ObservesGates
from simulator.miss import MISS, Miss, MissAction
from simulator.miss.protocol import DROPPED, Reroutes, Shares, StartsEarly
from simulator.training import Training
from tests.hand_made import HandView, random_routing
from tests.miss.by_hand import TokenView, learn_from

NUM_LAYERS, NUM_EXPERTS, TOP_K = 6, 7, 3

LOSSY = {"low_precision", "drop", "skip", "buddy", "substitute_low_score", "masked", "daop"}
SUBSTITUTING = {"buddy", "substitute_low_score", "masked"}
OF_MISSING_ALONE = SUBSTITUTING | {"low_precision", "drop"}

missing = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 64)), max_size=6, unique_by=lambda miss: miss[0])
experts = st.permutations(range(NUM_EXPERTS))
shares = st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.3, 0.5, 1.0]), min_size=TOP_K, max_size=TOP_K)


@dataclass(frozen=True)
class Visit:
    """One layer of a step: the experts' order of each token, its weights, the predicted next picks, and what is where."""

    tokens: list[tuple[list[int], list[float], list[int]]]
    resident: set[int]
    in_flight: set[int]


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[bool, list[Visit]]]:
    """Draw steps of one to three tokens, prefill or not."""
    result = []
    for _ in range(draw(st.integers(1, 2))):
        num_tokens = draw(st.integers(1, 3))
        token = st.tuples(
            experts.map(lambda order: order[:TOP_K]),
            shares.map(lambda weights: sorted(weights, reverse=True)),
            experts.map(lambda order: order[:TOP_K]),
        )
        visit = st.builds(
            Visit,
            tokens=st.lists(token, min_size=num_tokens, max_size=num_tokens),
            resident=st.sets(st.integers(0, NUM_EXPERTS - 1)),
            in_flight=st.sets(st.integers(0, NUM_EXPERTS - 1), max_size=2),
        )
        result.append((draw(st.booleans()), draw(st.lists(visit, min_size=NUM_LAYERS, max_size=NUM_LAYERS))))
    return result


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Sixty tokens of random routing."""
    routing = random_routing(5, lengths=[40, 20], num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=TOP_K)
    return learn_from(tmp_path_factory.mktemp("miss") / "t.safetensors", routing, num_experts=NUM_EXPERTS)


def make_view(training: Training) -> TokenView:
    """Return a view of the layers above, each with a bank of its own."""
    return TokenView(num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=TOP_K, training=training)


def show(view: TokenView, layer: int, number: int, is_prefill: bool, visit: Visit) -> None:
    """Let the view show a visit: keys are the drawn experts in the layer's own bank."""
    first_key, next_key = layer * NUM_EXPERTS, (layer + 1) * NUM_EXPERTS
    view.is_prefill = is_prefill
    view.resident = {first_key + expert for expert in visit.resident}
    view.in_flight = {first_key + expert for expert in visit.in_flight - visit.resident}
    view.resident |= {next_key + expert for expert in visit.resident}
    view.predicted = [[next_key + expert for expert in ahead] for _, _, ahead in visit.tokens]
    view.show(
        [[first_key + expert for expert in token] for token, _, _ in visit.tokens],
        [weights for _, weights, _ in visit.tokens],
        visit=number,
    )


Decisions = tuple[list[list[int]], list[int], list[MissAction], list[int], list[tuple[int, int]]]


def decided(policy: Miss, view: TokenView) -> Decisions:
    """Ask all that a policy can be asked at a gate: (picks as they shall be, missing keys, actions, shared, early)."""
    if isinstance(policy, ObservesGates):
        policy.at_gate()
    picks = [list(token) for token in (policy.reroute() if isinstance(policy, Reroutes) else view.picks())]
    tokens_of = Counter(key for token in picks for key in token if key != DROPPED)
    absent = [key for key in tokens_of if key not in view.resident | view.in_flight]
    actions = list(policy.decide(absent, [tokens_of[key] for key in absent])) if absent else []
    there = [key for key in tokens_of if key in view.resident]
    shared = list(policy.share(there, [tokens_of[key] for key in there])) if isinstance(policy, Shares) else []
    early = list(policy.start_early().items()) if isinstance(policy, StartsEarly) else []
    return picks, absent, actions, shared, early


@pytest.mark.parametrize("name", MISS)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(layers=st.lists(missing, max_size=6))
def test_decides_for_each_missing_expert(name: str, training: Training, layers: list[list[tuple[int, int]]]) -> None:
    """One action per missing key, in order, and the same ones each time, whatever else is known."""
    first, second = (
        MISS[name](HandView(num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, training=training)) for _ in range(2)
    )
    for misses in layers:
        keys, num_tokens = [key for key, _ in misses], [tokens for _, tokens in misses]
        actions = list(first.decide(keys, num_tokens))
        assert len(actions) == len(keys)
        assert all(isinstance(action, MissAction) for action in actions)
        assert actions == list(second.decide(keys, num_tokens))


@pytest.mark.parametrize("name", MISS)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(run=steps())
def test_a_run(name: str, training: Training, run: list[tuple[bool, list[Visit]]]) -> None:
    """Rerouted picks keep their shape, no token names an expert twice, all are of the layer; each time the same."""
    views = [make_view(training) for _ in range(2)]
    policies = [MISS[name](view) for view in views]
    number = 0
    for is_prefill, visits in run:
        for layer, visit in enumerate(visits):
            for view in views:
                show(view, layer, number, is_prefill, visit)
            number += 1
            (picks, absent, actions, shared, early), again = (
                decided(policy, view) for policy, view in zip(policies, views, strict=True)
            )
            assert (picks, absent, actions, shared, early) == again
            view, policy = views[0], policies[0]
            first_key = layer * NUM_EXPERTS
            assert [len(token) for token in picks] == [TOP_K] * len(visit.tokens)
            for token, wanted in zip(picks, view.picks(), strict=True):
                named = [key for key in token if key != DROPPED]
                assert len(set(named)) == len(named)
                assert all(first_key <= key < first_key + NUM_EXPERTS for key in named)
                if name not in LOSSY:
                    assert token == wanted
                for key, pick in zip(token, wanted, strict=True):
                    _check_entry(name, policy, view, key, pick)
            assert len(actions) == len(absent)
            assert set(shared) <= view.resident
            assert len(set(shared)) == len(shared)
            assert all(first_key + NUM_EXPERTS <= key < first_key + 2 * NUM_EXPERTS and n > 0 for key, n in early)


def _check_entry(name: str, policy: Miss, view: TokenView, key: int, pick: int) -> None:
    """Check one entry of what a policy makes of the picks."""
    if name in OF_MISSING_ALONE and pick in view.resident | view.in_flight:
        assert key == pick
    if name in SUBSTITUTING and key != pick:
        assert key in view.resident
    if isinstance(policy, Reroutes) and key != DROPPED:
        assert 0 <= policy.similarity(pick, key) <= 1
        assert policy.similarity(pick, pick) == 1


def test_lossy_policies_reroute_and_no_others(training: Training) -> None:
    """What a token gets is changed only by those that say so."""
    assert {name for name in MISS if isinstance(MISS[name](make_view(training)), Reroutes)} == LOSSY


@pytest.mark.parametrize("name", ["buddy", "skip", "substitute_low_score"])
def test_what_learns_says_so(name: str) -> None:
    """Without recorded routing there is a fault, not a guess."""
    with pytest.raises(ValueError, match="learns from recorded routing"):
        MISS[name](TokenView())


@pytest.mark.parametrize(
    ("name", "parameters", "fault"),
    [
        ("drop", {"keep_ranks": -1}, "keep_ranks is -1; it should be 0"),
        ("drop", {"below": 0.0}, "below is 0.0; it should be a share"),
        ("drop", {"otherwise": "defer"}, "otherwise is 'defer'; it should be one of fetch, cpu, in_place"),
        ("buddy", {"alpha": 1.5}, "alpha is 1.5; it should be"),
        ("buddy", {"k_max": 0}, "k_max is 0; it should be"),
        ("buddy", {"tau": 2.0}, "tau is 2.0; it should be"),
        ("buddy", {"tau_percentile": 101.0}, "tau_percentile is 101.0; it should be"),
        ("buddy", {"beta": 0.0}, "beta is 0.0; it should be"),
        ("buddy", {"eta": -1.0}, "eta is -1.0; it should be"),
        ("buddy", {"rho": 0}, "rho is 0; it should be"),
        ("substitute_low_score", {"below": 1.1}, "below is 1.1; it should be"),
        ("substitute_low_score", {"by": "luck"}, "by is 'luck'; it should be one of popularity, co_activation"),
        ("masked", {"by": "luck"}, "by is 'luck'"),
        ("skip", {"skip_share": 1.2}, "skip_share is 1.2; it should be"),
        ("skip", {"threshold": 0.0}, "threshold is 0.0; it should be"),
        ("skip", {"last_sensitivity": 0.0}, "last_sensitivity is 0.0; it should be"),
        ("low_precision", {"high": 0.95}, "high is 0.95; it should be .* low, which is 0.9"),
        ("cpu_by_tokens", {"fixed_threshold": -1}, "fixed_threshold is -1; it should be"),
        ("cpu_below", {"tokens": 0}, "tokens is 0; it should be"),
        ("schedule", {"cpu_warmup_frac": -0.1}, "cpu_warmup_frac is -0.1; it should be"),
        ("defer", {"ranks": 3}, "ranks is 3; it should be 1 or more and less than top-k, which is 3"),
        ("defer", {"fetch_from": -1}, "fetch_from is -1; it should be"),
        ("daop", {"first_layer": 0}, "first_layer is 0; it should be"),
    ],
)
def test_refuses_unfit_parameters(name: str, parameters: dict[str, object], fault: str, training: Training) -> None:
    """The fault names the parameter, its value and what would do."""
    with pytest.raises(ValueError, match=fault):
        MISS[name](make_view(training), **parameters)


def test_fetch_fetches_all() -> None:
    """The GPU waits for every expert that it lacks."""
    assert MISS["fetch"](HandView()).decide([4, 2], [1, 7]) == [MissAction.FETCH, MissAction.FETCH]


def test_in_place_reads_all() -> None:
    """Nothing is brought, nothing is computed on the CPU."""
    assert MISS["in_place"](HandView()).decide([4, 2], [1, 7]) == [MissAction.IN_PLACE, MissAction.IN_PLACE]
