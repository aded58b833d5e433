"""The path of a step, predicted before it, and the slots that it fills."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from simulator.prefetch.counting import experts_by_layer, starts_sequence
from simulator.prefetch.whole_path import WholePath, fit_whole_path, running_averages
from simulator.training import Training
from tests.hand_made import HandView, random_routing
from tests.prefetch.routing import decisions, keys_of, training_of, view_of

NUM_EXPERTS = 4
TURNING = [[[(token + 2 * layer) % 4] for layer in range(3)] for token in range(40)]
"""Each layer's expert is the one after that of the token before."""


@pytest.fixture(scope="module")
def turning(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Return a training on that."""
    return training_of(tmp_path_factory.mktemp("turning"), [TURNING], num_experts=NUM_EXPERTS)


def run(view: HandView, policy: WholePath, tokens: Sequence[Sequence[Sequence[int]]]) -> list[list[int]]:
    """Take a policy through tokens of one request, and return all that it names in each step, and what it would next."""
    view.oracle.visits = [visit for token in tokens for visit in keys_of(token, NUM_EXPERTS)]
    view.request_of_token = [0]
    return [*decisions(policy, view), list(policy.at_step_start())]


def test_names_the_whole_path_of_a_step_before_it(turning: Training) -> None:
    """From the token before; a request's first step gets what is popular, here the lowest of equals."""
    view = view_of(turning)
    view.slots_per_layer = 2
    named = run(view, WholePath(view), TURNING[4:6])
    assert [len(keys) for keys in named] == [3, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 3]
    assert named[7] == [1, 7, 9]
    assert named[14] == [2, 4, 10]


def test_each_layer_of_a_cache_per_layer_gets_its_slots(turning: Training) -> None:
    """No more names for a layer than it has slots."""
    view = view_of(turning)
    view.slots_per_layer = 2
    named = run(view, WholePath(view, experts=3), TURNING[:1])[-1]
    assert [key // NUM_EXPERTS for key in named] == [0, 0, 1, 1, 2, 2]


def test_a_global_cache_is_filled_in_layer_order_and_again_as_layers_end(turning: Training) -> None:
    """Seven slots hold three experts of layers 0 and 1 and one of layer 2; the slots of layer 0 then take the others."""
    view = view_of(turning)
    view.slots_per_layer = 7
    policy = WholePath(view, experts=3)
    run(view, policy, TURNING[:1])
    view.oracle.visits = [*view.oracle.visits, *keys_of(TURNING[1], NUM_EXPERTS)]
    first = list(policy.at_step_start())
    assert [key // NUM_EXPERTS for key in first] == [0, 0, 0, 1, 1, 1, 2]
    view.oracle.visit = 3
    assert policy.after_gate([1]) == ()
    then = list(policy.at_layer_end())
    assert [key // NUM_EXPERTS for key in then] == [2, 2]
    assert len({*first, *then}) == 9
    view.oracle.visit = 4
    assert list(policy.at_layer_end()) == []


def test_layers_of_one_bank_share_its_slots(turning: Training) -> None:
    """Two slots of the one bank hold the first layers' experts; each layer that ends gives up its own."""
    view = HandView(num_layers=3, num_experts=NUM_EXPERTS, top_k=1, training=turning)
    view.slots_per_layer = 2
    view.request_of_token = [0]
    policy = WholePath(view)
    names = [list(policy.at_step_start())]
    for view.oracle.visit in range(3):
        names.append(list(policy.at_layer_end()))
    assert [len(keys) for keys in names] == [2, 1, 0, 0]


def test_running_averages_are_those_of_a_loop(tmp_path: Path) -> None:
    """In whole numbers: from popularity at each sequence's start, a third of the way to what each token picks."""
    routing = random_routing(4, lengths=[7, 1, 5], num_layers=2, num_experts=NUM_EXPERTS, top_k=2)
    training = training_of(tmp_path, routing, num_experts=NUM_EXPERTS)
    start = np.array([[100, 200, 300, 400], [4096, 0, 7, 8]])
    found = running_averages(experts_by_layer(training), start, starts_sequence(training), 3)
    at = 0
    for tokens in routing:
        average = start.tolist()
        for token in tokens:
            assert found[at].tolist() == average
            for layer, picks in enumerate(token):
                average[layer] = [
                    value - value // 3 + (4096 // 3 if expert in picks else 0)
                    for expert, value in enumerate(average[layer])
                ]
            at += 1


def test_what_is_remembered_in_a_run_is_what_was_fitted_on(turning: Training) -> None:
    """After some tokens, a run's averages are those of the fit at that place."""
    view = view_of(turning)
    policy = WholePath(view, memory_tokens=3)
    run(view, policy, TURNING[:6])
    model = turning.fitted(fit_whole_path, memory_tokens=3, l2=10.0)
    fitted = running_averages(experts_by_layer(turning), model.popularity, starts_sequence(turning), 3)[6]
    assert policy._requests[0].recent.tolist() == fitted.tolist()


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"experts": -1}, "experts is -1; it should be 0"),
        ({"memory_tokens": 0}, "memory_tokens is 0; it should be 1 or more"),
        ({"l2": 0}, "l2 is 0; it should be above 0"),
    ],
)
def test_refuses_what_means_nothing(parameters: dict[str, int], fault: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=fault):
        WholePath(HandView(), **parameters)
