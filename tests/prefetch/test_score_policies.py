"""Decisions of policies that know the routing, nothing at all or what has been, by hand. Keys are layer * 10 + expert."""

from collections.abc import Callable

import pytest

from simulator.prefetch.mrs_top import MRSTop
from simulator.prefetch.pre_gated import PreGated
from simulator.prefetch.protocol import Prefetch
from simulator.prefetch.stream_layers import StreamLayers
from simulator.prefetch.swapmoe import SwapMoE
from simulator.view import View
from tests.hand_made import HandView
from tests.prefetch.gates import Gates


def test_pre_gated_names_exactly_the_next_layer_of_the_step() -> None:
    """Two steps of three layers; nothing before the first layer and nothing after the last."""
    visits = [[1, 2], [13, 14], [25], [3], [16, 17], [28]]
    view = HandView(visits, num_layers=3, num_experts=10, shared_bank=False)
    policy = PreGated(view)
    log: list[tuple[int, list[int]]] = []
    for visit, keys in enumerate(visits):
        if visit % 3 == 0:
            log.append((visit, list(policy.at_step_start())))
        view.oracle.visit = visit
        log.append((visit, list(policy.after_gate(keys))))
        assert policy.at_layer_end() == ()
    assert log == [(0, []), (0, [13, 14]), (1, [25]), (2, []), (3, []), (3, [16, 17]), (4, [28]), (5, [])]


def test_stream_layers_names_every_expert_in_turn() -> None:
    """Two layers ahead; the first ones of the next step come after the last."""
    view = Gates(num_layers=3, num_experts=2)
    policy = StreamLayers(view, distance=2)
    assert policy.at_step_start() == [0, 1, 2, 3]
    log = []
    for visit in range(4):
        view.oracle.visit = visit
        log.append(list(policy.after_gate([0])))
    assert log == [[2, 3, 4, 5], [4, 5, 0, 1], [0, 1, 2, 3], [2, 3, 4, 5]]
    assert StreamLayers(view).at_step_start() == [0, 1]


def test_stream_layers_names_a_shared_bank_once() -> None:
    """All layers draw from one bank of three."""
    view = HandView([[0]], num_layers=4, num_experts=3)
    assert StreamLayers(view, distance=3).at_step_start() == [0, 1, 2]


def test_mrs_top_names_the_highest_scores_of_the_next_layer() -> None:
    """Layer 1 at alpha 0.5 has 12: .375, 11: .125 after the first step; 12: .1875, 11: .0625, 13: .5 after the second.

    They are those of the step before while layer 0 is at its gate, and after the last layer nothing is named.
    """
    view = Gates(num_layers=2)
    policy = MRSTop(view, experts=2)
    log = []
    steps = [([[1, 2]], [[12, 11]], [[0.75, 0.25]]), ([[1, 2]], [[13]], [[1.0]]), ([[1, 2]], [[12]], [[1.0]])]
    for step, (first, second, weights) in enumerate(steps):
        view.oracle.visit, view.tokens, view.gate_weights = 2 * step, first, [[0.5, 0.5]]
        log.append(list(policy.after_gate(first[0])))
        view.oracle.visit, view.tokens, view.gate_weights = 2 * step + 1, second, weights
        log.append(list(policy.after_gate(second[0])))
    assert log == [[], [], [12, 11], [], [13, 12], []]


def test_mrs_top_averages_over_the_tokens_of_a_step() -> None:
    """11 scores 1.0 of one of three tokens, 12 has 0.5 of each: 12 comes first; 15 and 16 are alike, the lower wins."""
    view = Gates(num_layers=2)
    policy = MRSTop(view, experts=3, alpha=1.0)
    view.oracle.visit = 1
    view.tokens = [[11, 12], [12, 16], [12, 15]]
    view.gate_weights = [[1.0, 0.5], [0.5, 0.25], [0.5, 0.25]]
    policy.after_gate([11, 12, 16, 15])
    view.oracle.visit, view.tokens, view.gate_weights = 2, [[1]], [[1.0]]
    assert policy.after_gate([1]) == [12, 11, 15]


def test_swapmoe_names_the_most_important_every_other_step() -> None:
    """Weights add up over two steps; then the count begins anew."""
    view = Gates(num_layers=2)
    view.slots_per_layer = 2
    policy = SwapMoE(view, every=2)

    def step(at: int, first: list[int], second: list[int]) -> list[int]:
        named = list(policy.at_step_start())
        for layer, keys in enumerate((first, second)):
            view.oracle.visit, view.tokens, view.gate_weights = 2 * at + layer, [keys], [[0.6, 0.3, 0.1]]
            assert policy.after_gate(keys) == ()
        return named

    assert step(0, [1, 2, 3], [14, 15, 16]) == []
    assert step(1, [2, 1, 4], [16, 15, 14]) == []
    # Layer 0: 1 and 2 have .9 each, 3 and 4 .1; layer 1: 14 and 16 have .7, 15 .6.
    assert step(2, [5, 6, 7], [17, 18, 19]) == [1, 2, 14, 16]
    assert step(3, [5, 6, 7], [17, 18, 19]) == []
    assert policy.at_step_start() == [5, 6, 17, 18]


def test_swapmoe_keeps_a_share_of_what_was() -> None:
    """1 had 1.0, of which half is kept; 2 gathers 0.25 a step, so that 1 still leads, and then no longer."""
    view = Gates(num_layers=1)
    policy = SwapMoE(view, every=1, experts=1, kept_frac=0.5)
    log = []
    for visit, (token, weight) in enumerate([(1, 1.0), (2, 0.25), (2, 0.25)]):
        view.oracle.visit, view.tokens, view.gate_weights = visit, [[token]], [[weight]]
        policy.after_gate([token])
        log.append(list(policy.at_step_start()))
    assert log == [[1], [1], [2]]


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (lambda view: StreamLayers(view, distance=0), "distance is 0; it should be 1 layer or more"),
        (lambda view: MRSTop(view, experts=0), "experts is 0; it should be 1 or more"),
        (lambda view: MRSTop(view, alpha=0.0), "alpha is 0.0; it should be above 0 and at most 1"),
        (lambda view: SwapMoE(view, every=0), "every is 0; it should be 1 step or more"),
        (lambda view: SwapMoE(view, experts=-1), "experts is -1; it should be 0"),
        (lambda view: SwapMoE(view, kept_frac=1.5), "kept_frac is 1.5; it should be a share, from 0 to 1"),
    ],
)
def test_refuses_parameters_that_make_no_sense(build: Callable[[View], Prefetch], fault: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=fault):
        build(Gates())
