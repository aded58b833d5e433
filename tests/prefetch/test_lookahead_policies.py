"""Decisions of the policies that ask the gates ahead, by hand. Keys are layer * 10 + expert."""

from collections.abc import Callable

import pytest

from simulator.prefetch.adaptive_depth import AdaptiveDepth
from simulator.prefetch.adaptive_lookahead import AdaptiveLookahead
from simulator.prefetch.impact_simulated import ImpactSimulated
from simulator.prefetch.promoe import ProMoE
from simulator.prefetch.protocol import Prefetch
from simulator.view import View
from tests.prefetch.gates import Gates

AHEAD = {1: [[11, 12, 13], [14, 11, 15]], 2: [[21, 22, 23], [21, 24, 25]], 3: [[31, 32, 33], [34, 31, 35]]}


def test_adaptive_depth_names_what_the_next_layer_lacks() -> None:
    """All top-k of every token, each once, but for what is there or on its way."""
    view = Gates(AHEAD)
    view.resident, view.in_flight = {12}, {15}
    assert AdaptiveDepth(view).after_gate([1]) == [11, 13, 14]


def test_adaptive_depth_goes_on_only_where_everything_is_there() -> None:
    """With the next layer resident it is the one after, of which 22 is missing; layer 3 is not looked at."""
    view = Gates(AHEAD)
    view.resident = {11, 12, 13, 14, 15, 21, 23, 24, 25}
    policy = AdaptiveDepth(view)
    assert policy.after_gate([1]) == [22]
    view.resident.add(22)
    assert policy.after_gate([1]) == [31, 32, 33, 34, 35]
    view.resident |= {31, 32, 33, 34, 35}
    assert list(policy.after_gate([1])) == []
    view.resident.clear()
    assert AdaptiveDepth(view, max_distance=1).after_gate([1]) == [11, 12, 13, 14, 15]


def test_adaptive_depth_as_in_the_paper_of_adapmoe() -> None:
    """The top 2 of each token; where 11, 12 and 14 are there, the top 2 of the layer after."""
    view = Gates(AHEAD)
    policy = AdaptiveDepth(view, experts=2)
    assert policy.after_gate([1]) == [11, 12, 14]
    view.resident = {11, 12, 14}
    assert policy.after_gate([1]) == [21, 22, 24]


def test_adaptive_depth_as_in_the_code_of_adapmoe() -> None:
    """The first missing of the next layer's top 2 alone, for one token; nothing for two, nor further ahead."""
    view = Gates({1: [[11, 12, 13]], 2: [[21, 22, 23]]})
    policy = AdaptiveDepth(view, max_distance=1, experts=2, only_first=True, batch_limit=1)
    view.tokens = [[1, 2, 3]]
    view.resident = {11}
    assert policy.after_gate([1]) == [12]
    view.resident = {11, 12}
    assert list(policy.after_gate([1])) == []
    view.resident = set()
    view.tokens = [[1, 2, 3], [4, 5, 6]]
    assert list(policy.after_gate([1])) == []


def test_promoe_names_what_is_resident_too() -> None:
    """So that the executor touches it: only the layer `stride` ahead, which nothing is said of past the last."""
    view = Gates(AHEAD)
    view.resident = {11, 22}
    assert ProMoE(view).after_gate([1]) == [11, 12, 13, 14, 15]
    assert ProMoE(view, stride=2).after_gate([1]) == [21, 22, 23, 24, 25]
    assert ProMoE(view, stride=2).at_step_start() == ()
    assert ProMoE.TOUCHES
    assert view.lookahead_layers == 2


def test_adaptive_lookahead_starts_with_the_layers_that_a_transfer_takes() -> None:
    """Transfers of 1000 ns and experts of 100: two of 2000 / (300 + 200) are 4 layers, and a link of 600 ns 3 layers."""
    for transfer_ns, distance in ((1000, 4), (600, 3), (100, 1)):
        view = Gates(num_layers=9)
        view.costs.transfer_ns = transfer_ns
        policy = AdaptiveLookahead(view, max_distance=8)
        policy.after_gate([1, 2])
        assert policy.distance == distance
    view = Gates()
    clipped = AdaptiveLookahead(view, max_distance=3)
    clipped.after_gate([1, 2])
    assert clipped.distance == 3


def test_adaptive_lookahead_grows_with_stalls() -> None:
    """Two layers that miss something make it look one further; two that miss nothing do not."""
    view = Gates({1: [[11, 12]], 2: [[22]], 3: [[33]]})
    view.costs.transfer_ns = 1
    policy = AdaptiveLookahead(view, stalls=2)
    view.resident = {1, 11, 12, 22, 33}
    gates = ([1], [1, 2], [1], [2], [1], [2], [2])
    log = [(list(policy.after_gate(keys)), policy.distance) for keys in gates]
    assert [distance for _, distance in log] == [1, 1, 1, 2, 2, 2, 3]
    assert [keys for keys, _ in log[2:4]] == [[11, 12], [11, 12, 22]]


def test_adaptive_lookahead_shrinks_where_it_fetches_what_nobody_asks_for() -> None:
    """Of 11, 12, 13, named for the next layer, 12 is there and 11 is asked for: one is over-fetched, then two more."""
    view = Gates({1: [[11, 12, 13]], 2: [[21]]})
    view.costs.transfer_ns = 300
    policy = AdaptiveLookahead(view, overfetches=3, stalls=100)
    view.resident = {12}
    policy.after_gate([1])
    policy.distance = 2
    view.ahead = {1: [[21, 22]]}
    view.oracle.visit = 1
    policy.after_gate([11])  # 13 in vain
    assert policy.distance == 2
    view.oracle.visit = 2
    policy.after_gate([23])  # 21 and 22, in vain
    assert policy.distance == 1


def test_impact_simulated_names_what_shortens_a_layer_most() -> None:
    """A transfer takes 1000 ns, the GPU 100, the CPU 400 a token and 10 for the activation.

    Layer 1: 11 has three tokens, 12 one. Without either 12 is the CPU's and 11 comes in 1000 + 100 = 1100; with 11 there,
    12 is done at 410; with 12 there, 11 at 1100. So 11 saves 690, and then 12 saves 410 - 200.
    Layer 2: 21 has one token: 410, or 100 if it is there; it saves 310.
    """
    view = Gates({1: [[11, 12], [11], [11]], 2: [[21]]})
    assert ImpactSimulated(view, most=4).after_gate([1]) == [11, 21, 12]
    assert ImpactSimulated(view, most=2).after_gate([1]) == [11, 21]
    assert ImpactSimulated(view, layers=1, most=4).after_gate([1]) == [11, 12]


def test_impact_simulated_names_nothing_that_saves_nothing() -> None:
    """What is resident or in flight is not named, nor an expert that leaves the layer's end where it is."""
    view = Gates({1: [[11, 12]]})
    view.resident, view.in_flight = {11}, {12}
    assert ImpactSimulated(view).after_gate([1]) == []
    view = Gates({1: [[11, 12]]})
    view.costs.cpu_ns = view.costs.activation_token_ns = 1  # the CPU is as fast as can be
    assert ImpactSimulated(view).after_gate([1]) == []


def test_impact_simulated_prefers_the_nearest_layer_and_the_lowest_key() -> None:
    """All four save the same."""
    view = Gates({1: [[12, 11]], 2: [[22, 21]]})
    view.costs.num_cpu_workers = 2
    view.costs.activation_token_ns = 0
    assert ImpactSimulated(view, most=1).after_gate([1]) == []  # the other of the two takes 400 ns all the same
    view.ahead = {1: [[12]], 2: [[21]]}
    assert ImpactSimulated(view, most=2).after_gate([1]) == [12, 21]


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (lambda view: AdaptiveDepth(view, max_distance=0), "max_distance is 0; it should be 1 layer or more"),
        (lambda view: AdaptiveDepth(view, experts=-1), r"experts is -1; it should be 0 \(all top-k\) or more"),
        (lambda view: AdaptiveDepth(view, batch_limit=-1), r"batch_limit is -1; it should be 0 \(no limit\) or more"),
        (lambda view: ProMoE(view, stride=0), "stride is 0; it should be 1 layer or more"),
        (lambda view: AdaptiveLookahead(view, max_distance=0), "max_distance is 0; it should be 1 or more"),
        (lambda view: AdaptiveLookahead(view, stalls=0), "stalls is 0; it should be 1 or more"),
        (lambda view: AdaptiveLookahead(view, overfetches=0), "overfetches is 0; it should be 1 or more"),
        (lambda view: ImpactSimulated(view, layers=0), "layers is 0; it should be 1 or more"),
        (lambda view: ImpactSimulated(view, most=0), "most is 0; it should be 1 expert or more"),
        (lambda view: ImpactSimulated(view, cpu_warmup_frac=-1.0), "cpu_warmup_frac is -1.0; it should be 0 or more"),
    ],
)
def test_refuses_parameters_that_make_no_sense(build: Callable[[View], Prefetch], fault: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=fault):
        build(Gates())
