"""Policies that know layers, weights or training against their definitions, as plain loops over all gates so far.

One pool for all layers; whole layer visits, whose experts are held together.
"""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.eviction import EVICTION
from simulator.eviction.fitting import fit_once, next_token_uses
from simulator.eviction.protocol import ObservesGates
from simulator.training import Training
from tests.hand_made import HandView, Routing, make_trace, random_routing

LAYERS, EXPERTS, SLOTS = 3, 6, 7
TRAINING = random_routing(3, lengths=[6, 5], num_layers=LAYERS, num_experts=EXPERTS, top_k=2)


class Gates:
    """All gates so far: `steps` [step][layer][token] of keys, `requests` [step] of one number per token."""

    def __init__(self, view: HandView) -> None:
        self.view = view
        self.steps: list[list[list[list[int]]]] = []
        self.requests: list[list[int]] = []
        self.last_access: dict[int, tuple[int, int]] = {}  # the step, and when in all
        self.visits: dict[int, int] = {}  # since insertion

    def of_layer(self, layer: int) -> list[list[list[int]]]:
        """Return the layer's gates, [step][token] of keys."""
        return [step[layer] for step in self.steps if len(step) > layer]

    def distance(self, key: int) -> int:
        """Count the visits until the key's layer comes again."""
        return next(ahead for ahead in range(1, 99) if (self.view.visit + ahead) % LAYERS == key // EXPERTS)


def mrs(gates: Gates, key: int) -> tuple[float, ...]:
    """Average recursively; of a token's two picks the first weighs 2/3."""
    score = 0.0
    for tokens in gates.of_layer(key // EXPERTS):
        mean = sum((2 / 3, 1 / 3)[token.index(key)] for token in tokens if key in token) / len(tokens)
        score = 0.5 * mean + 0.5 * score
    return (score,)


def activation_aware(gates: Gates, key: int) -> tuple[float, ...]:
    """Count what the requests of the current step have used."""
    layer = key // EXPERTS
    used = routed = 0
    for step, requests in zip(gates.steps, gates.requests, strict=True):
        for token, request in zip(step[layer] if len(step) > layer else [], requests, strict=False):
            if request in gates.requests[-1]:
                routed += len(token)
                used += key in token
    return ((used / max(1, routed) + 1e-3) * (1 - layer / LAYERS),)


def hobbit(gates: Gates, key: int) -> tuple[float, ...]:
    """Add up the terms over the steps since one that shared no request with the step before."""
    requests = gates.requests
    start = max(at for at in range(len(requests)) if at == 0 or not {*requests[at]} & {*requests[at - 1]})
    tokens = uses = visits = last = 0
    for step, of_step in zip(gates.steps[start:], requests[start:], strict=True):
        tokens += len(of_step)
        picked = sum(key in token for layer in step for token in layer)
        uses += picked
        visits += picked > 0
        last = tokens if picked else last
    distance = gates.distance(key) % LAYERS
    return ((0.25 * last + 0.25 * uses + 0.25 * visits) / tokens + 0.25 * (1 - distance / LAYERS),)


def edgemoe(gates: Gates, key: int) -> tuple[float, ...]:
    """Divide the share of training's tokens by the distance."""
    tokens = [token for sequence in TRAINING for token in sequence]
    return (sum(key % EXPERTS in token[key // EXPERTS] for token in tokens) / len(tokens) / gates.distance(key),)


def finemoe(gates: Gates, key: int) -> tuple[float, ...]:
    """Look for the token of training whose routing in the layers so far has the largest cosine with this step's."""
    step = gates.steps[-1]
    best, similar = [], -1.0
    for token in (token for sequence in TRAINING for token in sequence):
        product = square = 0.0
        for layer, tokens in enumerate(step):
            seen = [sum(layer * EXPERTS + expert in picks for picks in tokens) for expert in range(EXPERTS)]
            product += sum(seen[expert] for expert in token[layer])
            square += len(token[layer])
        if product / math.sqrt(square) > similar + 1e-9:
            best, similar = token, product / math.sqrt(square)
    chance = 0.5 if key % EXPERTS in best[key // EXPERTS] else 0.0
    return ((chance + 1e-3) * gates.visits[key],)


def least_stale(gates: Gates, key: int) -> tuple[float, ...]:
    """Compare the pass, then the layer, then the last access."""
    step, at = gates.last_access[key]
    return (step == len(gates.steps) - 1, -gates.distance(key), at)


def lru_two_tier(gates: Gates, key: int) -> tuple[float, ...]:
    """Keep what the next two layers of this step use."""
    layer = gates.view.visit % LAYERS
    ahead = [gates.view.oracle.upcoming(distance) for distance in (1, 2) if layer + distance < LAYERS]
    return (any(key in keys for keys in ahead), gates.last_access[key][1])


DEFINITIONS: dict[str, Callable[[Gates, int], tuple[float, ...]]] = {
    "mrs": mrs,
    "activation_aware": activation_aware,
    "hobbit": hobbit,
    "edgemoe": edgemoe,
    "finemoe": finemoe,
    "least_stale": least_stale,
    "lru_two_tier": lru_two_tier,
}


def training(tmp_path: Path, routing: Routing = TRAINING) -> Training:
    """Return routing to learn from."""
    return Training(make_trace(tmp_path / "trace", routing, num_experts=EXPERTS), range(len(routing)))


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("seed", range(4))
def test_follows_its_definition(name: str, seed: int, tmp_path: Path) -> None:
    """Among what is not held, no key has a lower score than the victim; equal but for rounding is equal.

    One token per step, of request 0, then 1; at last two at once, 1 and 2.
    """
    routing = random_routing(seed, lengths=[60], num_layers=LAYERS, num_experts=EXPERTS, top_k=2)[0]
    steps = [[token] for token in routing[:40]] + [routing[at : at + 2] for at in range(40, 60, 2)]
    requests = [[0]] * 20 + [[1]] * 20 + [[1, 2]] * 10
    picks = [
        [[layer * EXPERTS + expert for expert in token[layer]] for token in step]
        for step in steps
        for layer in range(LAYERS)
    ]
    visits = [list(dict.fromkeys(key for token in tokens for key in token)) for tokens in picks]
    view = HandView(
        visits, num_layers=LAYERS, num_experts=EXPERTS, shared_bank=False, training=training(tmp_path), top_k=2
    )
    policy = EVICTION[name](view)
    assert isinstance(policy, ObservesGates) or name in ("edgemoe", "least_stale")
    gates = Gates(view)
    held: set[int] = set()
    num_decisions = num_accesses = 0
    for visit, keys in enumerate(visits):
        step, layer = divmod(visit, LAYERS)
        view.oracle.visit, view.tokens, view.request_of_token = visit, picks[visit], requests[step]
        if layer == 0:
            gates.steps.append([])
            gates.requests.append(requests[step])
        gates.steps[-1].append(picks[visit])
        view.held = set(keys)
        if isinstance(policy, ObservesGates):
            policy.at_gate()
        for key in sorted(keys, key=lambda key: key not in held):
            if key in held:
                policy.touch(key)
            else:
                if len(held) == SLOTS:
                    victim = policy.victim()
                    assert victim is not None
                    scores = {other: DEFINITIONS[name](gates, other) for other in held - view.held}
                    lowest = min(scores.values())
                    same = [
                        other
                        for other, score in scores.items()
                        if all(abs(value - least) < 1e-9 for value, least in zip(score, lowest, strict=True))
                    ]
                    assert victim in same
                    num_decisions += len(same) < len(scores)
                    policy.remove(victim)
                    held.remove(victim)
                    del gates.visits[victim]
                policy.insert(key)
                held.add(key)
            num_accesses += 1
            gates.last_access[key] = (step, num_accesses)
            gates.visits[key] = gates.visits.get(key, 0) + 1
    assert num_decisions > 30


def test_fits_once(tmp_path: Path) -> None:
    """However many pools ask, the same training and arguments are fitted once."""
    asked = []

    def count(training: Training, number: int) -> int:
        asked.append(number)
        return len(training.keys_TLK) + number

    fit = fit_once(count)
    one, other = training(tmp_path), training(tmp_path)
    assert [fit(one, 1), fit(one, 1), fit(one, 2), fit(other, 1)] == [12, 12, 13, 12]
    assert asked == [1, 2, 1]


def test_counts_what_follows_within_a_sequence(tmp_path: Path) -> None:
    """0 and 1 are followed by 1 and 2, then the sequence ends; the next one, 5 then 5 and 4, stands for itself."""
    routing = [[[[0, 1]], [[1, 2]]], [[[5, 3]], [[5, 4]]]]
    counts = next_token_uses(training(tmp_path, routing))
    pairs = {(before, after) for before in range(EXPERTS) for after in range(EXPERTS) if counts[0, before, after]}
    assert pairs == {(0, 1), (0, 2), (1, 1), (1, 2), (5, 5), (5, 4), (3, 5), (3, 4)}
    assert counts.sum() == 8


def test_counts_of_moe_infinity_end_with_the_prefill() -> None:
    """1 is used often in the prefill, 2 once in decoding. Cleared, 1 goes; else 2. A count outlives an eviction."""
    for cleared, victim in ((True, 1), (False, 2)):
        view = HandView([[1], [2]])
        policy = EVICTION["moe_infinity_code"](view, cleared=cleared)
        assert isinstance(policy, ObservesGates)
        view.is_prefill = True
        policy.at_gate()
        policy.insert(1)
        policy.touch(1)
        policy.touch(1)
        view.is_prefill = False
        policy.at_gate()
        policy.insert(2)
        assert policy.victim() == victim
        policy.remove(2)
        policy.insert(2)
        policy.touch(2)
        policy.insert(3)
        assert policy.victim() == (1 if cleared else 3)


def test_hobbit_counts_high_precision_alone() -> None:
    """Weighing high-precision uses alone, low-precision copies and prefetched keys go first."""
    view = HandView([[1, 2]])
    policy = EVICTION["hobbit"](view, lru=0.0, lfu=0.0, lhu=1.0, fld=0.0)
    assert isinstance(policy, ObservesGates)
    view.oracle.visit = 0
    policy.at_gate()
    for key in (1, 2, 3, 2 + view.num_keys):
        policy.insert(key)
    order = []
    while (victim := policy.victim()) is not None:
        policy.remove(victim)
        order.append(victim)
    assert order == [3, 2 + view.num_keys, 1, 2]


def test_what_was_predicted_in_vain_goes_first() -> None:
    """3 is prefetched and not picked: it goes though it is the most recent; 2 was prefetched and is picked: it stays."""
    view = HandView([[0], [1], [2], [0]])
    policy = EVICTION["predicted_unused_first"](view)
    assert isinstance(policy, ObservesGates)
    for key in (0, 1):
        view.oracle.visit += 1
        policy.at_gate()
        policy.insert(key)
    policy.insert(2)
    policy.insert(3)
    assert policy.victim() == 0
    view.oracle.visit += 1
    policy.at_gate()
    policy.touch(2)
    assert policy.victim() == 3
    view.held = {3}
    assert policy.victim() == 0
    view.held = set()
    policy.touch(3)
    assert policy.victim() == 0


def test_a_gate_ahead_predicts_too() -> None:
    """With `distance`, a resident that the layer before has named, and its own gate has not, goes before older ones."""
    view = HandView([[0], [5], [0], [4]], num_layers=2, num_experts=4, shared_bank=False)
    policy = EVICTION["predicted_unused_first"](view, distance=1)
    assert isinstance(policy, ObservesGates)
    for visit in range(2):
        view.oracle.visit = visit
        policy.at_gate()
        policy.insert(view.oracle.visits[visit][0])
    view.oracle.visit = 2
    view.oracle.visits = [[0], [5], [0], [5]]  # the gate of layer 1, asked early, says 5
    policy.at_gate()
    policy.touch(0)
    policy.touch(5)
    assert policy.victim() == 0  # the least recent
    view.oracle.visit = 3
    view.oracle.visits = [[0], [5], [0], [4]]  # and then 4
    policy.at_gate()
    policy.insert(4)
    assert policy.victim() == 5


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("mrs", {"alpha": 0.0}, "alpha is 0.0"),
        ("mrs", {"top_p": -1}, "top_p is -1"),
        ("lru_two_tier", {"window": 0}, "window is 0"),
        ("activation_aware", {"epsilon": 0.0}, "epsilon is 0.0"),
        ("hobbit", {"fld": -0.5}, "fld is -0.5"),
        ("finemoe", {"capacity": 0}, "capacity is 0"),
        ("finemoe", {"epsilon": -1.0}, "epsilon is -1.0"),
        ("predicted_unused_first", {"distance": -1}, "distance is -1"),
        ("mark0", {"predictor": "tea leaves"}, "predictor is 'tea leaves'"),
        ("mark_and_predict", {"distance": 0}, "distance is 0"),
    ],
)
def test_asks_for_sound_parameters(name: str, parameters: dict[str, float], message: str) -> None:
    """What cannot be is refused with its value."""
    with pytest.raises(ValueError, match=message):
        EVICTION[name](HandView(), **parameters)


@pytest.mark.parametrize("name", ["edgemoe", "finemoe", "mark0"])
def test_needs_training(name: str) -> None:
    """Without recorded routing to learn from there is no such policy."""
    with pytest.raises(ValueError, match="recorded routing"):
        EVICTION[name](HandView())
