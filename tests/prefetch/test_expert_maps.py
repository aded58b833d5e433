"""Searching expert maps: by hand, and against a plain computation of every cosine anew."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from simulator.prefetch.expert_maps import UNITS, ExpertMaps
from simulator.training import Training
from tests.hand_made import HandView, Routing, random_routing
from tests.prefetch.recorded import recorded

# Map A and map B over three layers of four experts, top 2 with weights of 3/4 and 1/4.
PAST: Routing = [[[[0, 1], [2, 3], [1, 0]]], [[[2, 3], [0, 1], [3, 2]]]]


def view_of(training: Training) -> HandView:
    """A bank per layer: keys are layer * num_experts + expert."""
    return HandView(
        [[] for _ in range(400)],
        num_layers=training.num_layers,
        num_experts=training.num_experts,
        training=training,
        shared_bank=False,
    )


def small_view(folder: Path) -> HandView:
    """Maps A and B to learn from."""
    return view_of(recorded(folder, PAST, num_experts=4, weights=[0.75, 0.25]))


def take(
    policy: ExpertMaps,
    view: HandView,
    visit: int,
    tokens: list[list[int]],
    weights: list[float],
    requests: list[int] | None = None,
) -> list[int]:
    """Pass one gate with these picks, the same weights for each token, and return what is named."""
    view.oracle.visit = visit
    view.tokens, view.gate_weights = tokens, [weights] * len(tokens)
    view.request_of_token = requests if requests is not None else [0] * len(tokens)
    return list(policy.after_gate([key for token in tokens for key in token]))


def test_a_better_match_names_fewer_experts(tmp_path: Path) -> None:
    """0, 1 is map A itself: s = 1 and one expert, 2 of layer 1, is enough.

    1 and 3 with halves are as like A as B, s = (1/2 * 1/4) / (sqrt(1/2) * sqrt(5/8)) = .22, so that A's 3/4 fall short
    of .78 and both its experts are named.
    """
    view = small_view(tmp_path)
    assert take(ExpertMaps(view, distance=1), view, 0, [[0, 1]], [0.75, 0.25]) == [6]
    assert take(ExpertMaps(view, distance=1), view, 0, [[1, 3]], [0.5, 0.5]) == [6, 7]
    assert take(ExpertMaps(view, distance=1, at_least=2), view, 0, [[0, 1]], [0.75, 0.25]) == [6, 7]


def test_the_search_follows_the_layers_so_far(tmp_path: Path) -> None:
    """Layer 0 is B's and layer 1 A's: products of 5/8 + 0 and 0 + 5/8 are alike, and the first, A, names 1 of layer 2."""
    view = small_view(tmp_path)
    policy = ExpertMaps(view, distance=1)
    assert take(policy, view, 0, [[2, 3]], [0.75, 0.25]) == [4]
    assert take(policy, view, 1, [[6, 7]], [0.75, 0.25]) == [9]
    assert take(policy, view, 2, [[9, 8]], [0.75, 0.25]) == []


def test_nearer_layers_come_first(tmp_path: Path) -> None:
    """Two layers ahead; the second step starts with the search for the first one's whole map.

    That is A's: s = 1, so 0 of layer 0, at a distance of 1, comes before 2 of layer 1, at 2. At layer 0 the picks are
    B's: 3 of layer 2, at 2, joins 2 of layer 1, at 1.
    """
    view = small_view(tmp_path)
    policy = ExpertMaps(view, distance=2, online=False)
    assert policy.at_step_start() == []
    assert take(policy, view, 0, [[0, 1]], [0.75, 0.25]) == [9]
    assert take(policy, view, 1, [[6, 7]], [0.75, 0.25]) == [9]
    assert take(policy, view, 2, [[9, 8]], [0.75, 0.25]) == []
    assert policy.at_step_start() == [0, 6]
    assert take(policy, view, 3, [[2, 3]], [0.75, 0.25]) == [6, 11]


def test_tokens_are_searched_apart(tmp_path: Path) -> None:
    """One token is A's and one is B's; of two that name the same expert it is named once."""
    view = small_view(tmp_path)
    policy = ExpertMaps(view, distance=1)
    assert take(policy, view, 0, [[0, 1], [2, 3], [0, 1]], [0.75, 0.25], [4, 5, 6]) == [4, 6]


def test_a_step_replaces_the_map_most_like_its_own(tmp_path: Path) -> None:
    """The step has A's experts, in layers 1 and 2 the other way round, and takes A's place; B has none of them.

    So a token that begins like it now recalls 3 of layer 1 instead of 2. Offline it does not.
    """
    for online, recalled in ((True, [7]), (False, [6])):
        view = small_view(tmp_path)
        policy = ExpertMaps(view, distance=1, online=online)
        for layer, token in enumerate(([0, 1], [7, 6], [8, 9])):
            take(policy, view, layer, [token], [0.75, 0.25])
        assert take(policy, view, 3, [[0, 1]], [0.75, 0.25]) == recalled


def test_the_store_holds_training_tokens_at_even_distances(tmp_path: Path) -> None:
    """Of four tokens with room for two: the first and the third, so that expert 3 looks like neither."""
    past: Routing = [[[[0], [0]], [[1], [1]], [[2], [2]], [[3], [3]]]]
    view = view_of(recorded(tmp_path, past, num_experts=4))
    assert take(ExpertMaps(view, distance=1, capacity=2), view, 0, [[2]], [1.0]) == [6]
    assert take(ExpertMaps(view, distance=1, capacity=2), view, 0, [[3]], [1.0]) == [4]  # s = 0: the first map


class Plain:
    """The policy with lists and every cosine anew; `maps` [N][L] of {expert: units}."""

    def __init__(self, training: Training, distance: int, at_least: int, *, online: bool) -> None:
        weights = training.weights_TLK()
        self.maps: list[list[dict[int, int]]] = [
            [
                {
                    int(key) % training.num_experts: round(float(weight) * UNITS)
                    for key, weight in zip(keys, of_layer, strict=True)
                }
                for keys, of_layer in zip(token, gates, strict=True)
            ]
            for token, gates in zip(training.keys_TLK, weights, strict=True)
        ]
        self.num_layers, self.num_experts = training.num_layers, training.num_experts
        self.distance, self.at_least, self.online = distance, at_least, online
        self.last: dict[int, list[dict[int, int]]] = {}
        self.named: dict[int, dict[int, float]] = {}
        self.tokens: list[list[dict[int, int]]] = []

    def nearest(self, so_far: list[dict[int, int]]) -> tuple[int, float]:
        """Return the first of the highest cosines, over as many layers as are given."""
        cosines = []
        for other in self.maps:
            pairs = list(zip(so_far, other, strict=False))
            product = sum(units * its.get(expert, 0) for own, its in pairs for expert, units in own.items())
            own_square = sum(units**2 for own, _ in pairs for units in own.values())
            square = sum(units**2 for _, its in pairs for units in its.values())
            cosines.append(product / sqrt(square * own_square))
        return cosines.index(max(cosines)), max(cosines)

    def predict(self, layer: int, match: int, cosine: float) -> None:
        """Note what a map names for a layer."""
        row = self.maps[match][layer]
        ranked = sorted(row.items(), key=lambda item: (-item[1], item[0]))
        added = 0
        for rank, (expert, units) in enumerate(ranked):
            if rank >= self.at_least and added >= min(max(1 - cosine, 0.0), 1.0) * sum(row.values()):
                return
            added += units
            key = layer * self.num_experts + expert
            of_layer = self.named.setdefault(layer, {})
            of_layer[key] = max(of_layer.get(key, 0.0), units / sum(row.values()))

    def in_order(self, layer: int) -> list[int]:
        """Return what is named for later layers."""
        ranked = [
            (-probability / (later - layer), key)
            for later, of_layer in self.named.items()
            if later > layer
            for key, probability in of_layer.items()
        ]
        return [key for _, key in sorted(ranked)]

    def start(self, requests: Sequence[int]) -> list[int]:
        """Begin a step."""
        self.named = {}
        for request in dict.fromkeys(requests):
            if request in self.last:
                for layer in range(min(self.distance, self.num_layers)):
                    self.predict(layer, *self.nearest(self.last[request]))
        return self.in_order(-1)

    def gate(self, layer: int, tokens: list[list[int]], weights: list[list[float]], requests: list[int]) -> list[int]:
        """Follow, search and name."""
        if layer == 0:
            self.tokens = [[] for _ in tokens]
        for so_far, token, gate in zip(self.tokens, tokens, weights, strict=True):
            so_far.append(
                {key % self.num_experts: round(weight * UNITS) for key, weight in zip(token, gate, strict=True)}
            )
            if layer + self.distance < self.num_layers:
                self.predict(layer + self.distance, *self.nearest(so_far))
        if layer == self.num_layers - 1:
            for request, so_far in dict(zip(requests, self.tokens, strict=True)).items():
                self.last[request] = so_far
                if self.online:
                    self.maps[self.nearest(so_far)[0]] = so_far
        return self.in_order(layer)


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize(("seed", "distance", "at_least"), [(0, 1, 1), (1, 2, 1), (2, 2, 2), (3, 3, 1), (4, 6, 1)])
def test_agrees_with_a_plain_computation(tmp_path: Path, seed: int, distance: int, at_least: int, online: bool) -> None:
    """Steps of one to three tokens: the same keys in the same order at every decision."""
    num_layers, num_experts = 4, 6
    past = random_routing(seed, lengths=[4, 3, 5], num_layers=num_layers, num_experts=num_experts, top_k=2)
    training = recorded(tmp_path, past, num_experts=num_experts, weights=[0.7, 0.3])
    view = view_of(training)
    policy = ExpertMaps(view, distance=distance, at_least=at_least, online=online)
    plain = Plain(training, distance, at_least, online=online)
    rng = np.random.default_rng(seed)
    num_named = 0
    for step in range(12):
        requests = [[0], [0, 1], [2, 2, 1]][step % 3]
        view.request_of_token = requests
        view.tokens = [[0]] * len(requests)
        named = list(policy.at_step_start())
        assert named == plain.start(requests)
        for layer in range(num_layers):
            tokens = [(layer * num_experts + rng.permutation(num_experts)[:2]).tolist() for _ in requests]
            gates = [[weight, 1 - weight] for weight in rng.uniform(0.5, 1, len(requests)).tolist()]
            view.oracle.visit = step * num_layers + layer
            view.tokens, view.gate_weights = tokens, gates
            at_gate = list(policy.after_gate([]))
            assert at_gate == plain.gate(layer, tokens, gates, requests)
            num_named += len(named) + len(at_gate)
    assert num_named > 100


def test_refuses_parameters_that_make_no_sense(tmp_path: Path) -> None:
    """The fault names the parameter and its value; training that is not there is asked for."""
    view = small_view(tmp_path)
    with pytest.raises(ValueError, match="distance is 0; it should be 1 or more"):
        ExpertMaps(view, distance=0)
    with pytest.raises(ValueError, match="capacity is 0; it should be 1 or more"):
        ExpertMaps(view, capacity=0)
    with pytest.raises(ValueError, match="at_least is 0; it should be 1 or more"):
        ExpertMaps(view, at_least=0)
    with pytest.raises(ValueError, match="learns from recorded routing"):
        ExpertMaps(HandView())
