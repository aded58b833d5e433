"""Each way to batch, by hand and on routing that falls into clusters."""

import random
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.batching import BATCHING
from simulator.batching.regroup import Regroup

Token = list[list[int]]


def lists(groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return groups as plain lists."""
    return [list(group) for group in groups]


def num_distinct(tokens: Sequence[Token], groups: Sequence[Sequence[int]]) -> int:
    """Count the distinct experts of all groups and layers."""
    return sum(
        len({key for index in group for key in tokens[index][layer]})
        for group in groups
        for layer in range(len(tokens[0]))
    )


def test_together_and_micro_batches() -> None:
    """One group, or ranges whose first ones are one larger."""
    tokens = [[[0]]] * 7
    assert lists(BATCHING["together"]().groups(tokens, [1] * 7)) == [[0, 1, 2, 3, 4, 5, 6]]
    assert lists(BATCHING["micro_batches"]().groups(tokens, [1] * 7)) == [[0, 1, 2, 3], [4, 5, 6]]
    assert lists(BATCHING["micro_batches"](count=3).groups(tokens, [1] * 7)) == [[0, 1, 2], [3, 4], [5, 6]]
    assert lists(BATCHING["micro_batches"](count=9).groups(tokens[:2], [1, 1])) == [[0], [1]]


@pytest.mark.parametrize(
    ("contexts", "count", "groups"),
    [
        ([9, 5, 4, 1], 2, [[0, 3], [1, 2]]),  # 9 | 5 -> 9 | 5 4 -> 9 1 | 5 4
        ([1, 1, 1, 9], 2, [[0, 1], [2, 3]]),  # 9 | 1 -> 9 | 1 1, which is full -> 9 1 | 1 1
        ([3, 3, 3, 3, 3], 2, [[0, 2, 4], [1, 3]]),
        ([8, 7, 6, 5, 4, 3], 3, [[0, 5], [1, 4], [2, 3]]),
        ([2, 7], 4, [[0], [1]]),
    ],
)
def test_balanced(contexts: list[int], count: int, groups: list[list[int]]) -> None:
    """The longest first, each to the group with the least context that has room."""
    tokens = [[[0]]] * len(contexts)
    assert lists(BATCHING["balanced"](count=count).groups(tokens, contexts)) == groups


def clustered(seed: int, *, num_clusters: int, size: int) -> tuple[list[Token], list[int]]:
    """Draw tokens of four layers, top-3 of 24 experts, whose clusters use different experts; return the cluster of each."""
    rng = random.Random(seed)
    cluster_of = [cluster for cluster in range(num_clusters) for _ in range(size)]
    rng.shuffle(cluster_of)
    width = 24 // num_clusters
    tokens = [
        [[24 * layer + cluster * width + expert for expert in rng.sample(range(width), 3)] for layer in range(4)]
        for cluster in cluster_of
    ]
    return tokens, cluster_of


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("num_clusters", "size"), [(2, 4), (2, 15), (3, 6), (4, 8)])
def test_regroup_recovers_clusters(seed: int, num_clusters: int, size: int) -> None:
    """Shuffled tokens of clusters that share no expert are put back together."""
    tokens, cluster_of = clustered(seed, num_clusters=num_clusters, size=size)
    groups = lists(Regroup(count=num_clusters).groups(tokens, [1] * len(tokens)))
    expected = [[at for at, its in enumerate(cluster_of) if its == cluster] for cluster in range(num_clusters)]
    assert groups == sorted(expected)


@pytest.mark.parametrize("seed", range(20))
def test_regroup_recovers_clusters_that_overlap(seed: int) -> None:
    """One pick in ten goes to the other cluster's experts; a token's home is still told from its other picks."""
    rng = random.Random(seed)
    tokens, cluster_of = clustered(seed, num_clusters=2, size=10)
    for token in tokens:
        for layer, keys in enumerate(token):
            if rng.random() < 0.3:
                keys[0] = 24 * layer + (keys[0] - 24 * layer + 12) % 24
    groups = lists(Regroup().groups(tokens, [1] * 20))
    assert groups == sorted([at for at, its in enumerate(cluster_of) if its == cluster] for cluster in (0, 1))


picks = st.lists(st.integers(0, 9), min_size=2, max_size=2, unique=True)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    tokens=st.lists(st.lists(picks, min_size=2, max_size=2), min_size=1, max_size=12),
    count=st.integers(1, 4),
    iterations=st.integers(1, 5),
)
def test_regroup_never_needs_more_experts_than_the_batch_order(
    tokens: list[Token], count: int, iterations: int
) -> None:
    """And where it needs as many, the batch order is kept."""
    contexts = [1] * len(tokens)
    groups = lists(Regroup(count=count, iterations=iterations).groups(tokens, contexts))
    in_order = lists(BATCHING["micro_batches"](count=count).groups(tokens, contexts))
    assert num_distinct(tokens, groups) < num_distinct(tokens, in_order) or groups == in_order


def test_regroup_saves_most_of_what_can_be_saved() -> None:
    """Over random batches of eight, its saving against the batch order is three quarters or more of the best division's."""
    rng = random.Random(11)
    saved = possible = 0
    for _ in range(40):
        tokens = [[rng.sample(range(8), 2) for _ in range(3)] for _ in range(8)]
        in_order = num_distinct(tokens, [range(4), range(4, 8)])
        groups = Regroup().groups(tokens, [1] * 8)
        best = min(
            num_distinct(tokens, [half, [at for at in range(8) if at not in half]])
            for half in combinations(range(8), 4)
            if 0 in half
        )
        saved += in_order - num_distinct(tokens, groups)
        possible += in_order - best
    assert saved > 0.75 * possible


def test_regroup_tells_layers_apart() -> None:
    """Layers that share a bank use the same keys for different picks: tokens 0 and 2 agree in both layers."""
    tokens: list[Token] = [[[1], [2]], [[2], [1]], [[1], [2]], [[2], [1]]]
    assert lists(Regroup().groups(tokens, [1] * 4)) == [[0, 2], [1, 3]]


def test_regroup_keeps_the_order_of_tokens_that_are_all_alike() -> None:
    """Nothing can be saved."""
    assert lists(Regroup().groups([[[1, 2]]] * 5, [1] * 5)) == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("name", ["iterations", "starts"])
def test_regroup_refuses_to_do_nothing(name: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=f"{name} is 0; it should be 1 or more"):
        Regroup(**{name: 0})
