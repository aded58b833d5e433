"""Lookahead of a stated recall, measured."""

import random
from collections.abc import Sequence

import pytest

from simulator.lookahead import StatedLookahead
from simulator.workload.step import Step

NUM_LAYERS, NUM_EXPERTS, TOP_K, NUM_TOKENS = 4, 16, 3, 3000
RECALL = [[0.0, 0.0], [0.4, 0.3], [0.9, 0.6], [1.0, 0.75]]


def make_step(first_keys: Sequence[int]) -> Step:
    """Make a step of random tokens."""
    rng = random.Random(1)
    tokens = [
        [[first + expert for expert in rng.sample(range(NUM_EXPERTS), TOP_K)] for first in first_keys]
        for _ in range(NUM_TOKENS)
    ]
    return Step(is_prefill=True, tokens=tokens, contexts=[1] * NUM_TOKENS, requests=[], emits=[])


def make(first_keys: Sequence[int], *, seed: int = 0, num_experts: int = NUM_EXPERTS) -> StatedLookahead:
    """Make lookahead of the stated recall."""
    return StatedLookahead(RECALL, first_keys=first_keys, num_experts=num_experts, seed=seed)


def test_recall_is_as_stated_for_each_layer_and_distance() -> None:
    """By the layer that is predicted, within five standard deviations; the last distance stands for those beyond."""
    first_keys = [0, 16, 32, 48]
    step = make_step(first_keys)
    lookahead = make(first_keys)
    for layer in range(NUM_LAYERS):
        for distance in range(1, NUM_LAYERS - layer):
            target = layer + distance
            stated = RECALL[target][min(distance, 2) - 1]
            picks = lookahead.picks(step, 5 * NUM_LAYERS + layer, distance)
            found = sum(
                len(set(named) & set(token[target])) for named, token in zip(picks, step.tokens, strict=True)
            ) / (NUM_TOKENS * TOP_K)
            assert found == pytest.approx(stated, abs=5 * (stated * (1 - stated) / (NUM_TOKENS * TOP_K)) ** 0.5)


def test_each_token_gets_distinct_keys_of_the_right_bank() -> None:
    """As many as it picks, also where two layers draw from one bank; what it finds keeps its rank."""
    first_keys = [0, 16, 0, 16]
    step = make_step(first_keys)
    lookahead = make(first_keys)
    for layer, distance in [(0, 1), (0, 2), (1, 2), (2, 1)]:
        target = layer + distance
        for named, token in zip(lookahead.picks(step, layer, distance), step.tokens, strict=True):
            assert len(set(named)) == len(named) == TOP_K
            assert all(first_keys[target] <= key < first_keys[target] + NUM_EXPERTS for key in named)
            assert all(key == true for key, true in zip(named, token[target], strict=True) if key in token[target])


def test_says_the_same_whenever_it_is_asked() -> None:
    """In any order, by any of two alike; another seed or visit says something else."""
    first_keys = [0, 16, 32, 48]
    step = make_step(first_keys)
    first, second = make(first_keys), make(first_keys)
    asked = [(0, 1), (4, 2), (1, 1), (0, 2)]
    forth = {at: first.picks(step, *at) for at in asked}
    assert forth == {at: second.picks(step, *at) for at in reversed(asked)}
    assert forth[0, 1] == first.picks(step, 0, 1)
    assert forth[0, 1] != make(first_keys, seed=1).picks(step, 0, 1)
    assert forth[0, 1] != first.picks(step, 4, 1)


def test_a_token_that_uses_a_whole_bank_cannot_be_predicted_wrongly() -> None:
    """No other expert is left to stand in."""
    step = make_step([0, 16, 32, 48])
    assert make([0, 16, 32, 48], num_experts=0).picks(step, 0, 1) == [token[1] for token in step.tokens]


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_refuses_shares_that_are_none(share: float) -> None:
    """A recall lies between 0 and 1."""
    with pytest.raises(ValueError, match="a recall is a share, from 0 to 1"):
        StatedLookahead([[share]], first_keys=[0], num_experts=4, seed=0)
