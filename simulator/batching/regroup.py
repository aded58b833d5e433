"""Several steps per round, each of tokens that want the same experts.

Legend: n tokens, G groups, C distinct (layer, expert) pairs of a round.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.batching.micro_batches import MicroBatches, checked_count, group_sizes
from simulator.workload.step import TokenRouting


class Regroup:
    """Divide a round's tokens into `count` groups of the same size whose members are routed alike.

    Tokens are clustered by k-means on their routing as 0/1 vectors over (layer, expert), whose similarity is 1 - Hamming
    distance / (L E): from seeds that lie far apart, each token goes to the nearest centre that has room, those first that
    would lose most elsewhere, until nothing changes or `iterations` are over. The groups then run in order of their first
    token. Where they need no fewer distinct experts in all than the tokens cut in batch order, that cut is taken.

    Source: X. He et al.: "ExpertFlow: optimized expert activation and token allocation for efficient mixture-of-experts
    inference", arXiv 2410.17954, token scheduler: two consecutive batches regrouped into two of equal size by 2-means. The
    seeds, the order of assignment, `iterations` and the way back to the batch order are ours.

    Limits: regroups what one round has; theirs takes two batches that would have run one after the other anyway, so compare
    with `micro_batches` of the same `count`. The routing is known exactly, where theirs is predicted.
    """

    def __init__(self, *, count: int = 2, iterations: int = 10) -> None:
        if iterations < 1:
            raise ValueError(f"iterations is {iterations}; it should be 1 or more")
        self._count, self._iterations = checked_count(count), iterations
        self._in_order = MicroBatches(count=count)

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return clusters if they save anything."""
        in_order = self._in_order.groups(tokens, contexts)
        if len(in_order) in (1, len(tokens)):
            return in_order
        routing_nC = _one_hot(tokens)
        clusters = _clusters(routing_nC, group_sizes(len(tokens), self._count), self._iterations)
        found, cut = (
            sum(int(routing_nC[list(group)].any(axis=0).sum()) for group in groups) for groups in (clusters, in_order)
        )
        return clusters if found < cut else in_order


def _one_hot(tokens: Sequence[TokenRouting]) -> NDArray[np.float64]:
    """Return [n, C] 0/1: which pairs each token uses. Whole numbers in floats, whose products are exact."""
    keys_nLK = np.array(tokens, np.int64)
    pairs_nP = (keys_nLK + np.arange(keys_nLK.shape[1])[:, None] * (int(keys_nLK.max()) + 1)).reshape(len(tokens), -1)
    pairs_C, column = np.unique(pairs_nP, return_inverse=True)
    routing_nC = np.zeros((len(tokens), len(pairs_C)))
    routing_nC[np.repeat(np.arange(len(tokens)), pairs_nP.shape[1]), column.ravel()] = 1
    return routing_nC


def _clusters(routing_nC: NDArray[np.float64], sizes: Sequence[int], iterations: int) -> list[list[int]]:
    """Return groups of these sizes by k-means."""
    centres_GC = routing_nC[_seeds(routing_nC, len(sizes))]
    group_n: list[int] = []
    for _ in range(iterations):
        distance_nG = (
            routing_nC.sum(axis=1)[:, None] - 2 * routing_nC @ centres_GC.T + (centres_GC * centres_GC).sum(axis=1)
        )
        assigned_n = _assign(np.round(distance_nG, 9), sizes)
        if assigned_n == group_n:
            break
        group_n = assigned_n
        centres_GC = np.stack([routing_nC[np.array(group_n) == group].mean(axis=0) for group in range(len(sizes))])
    return sorted([index for index, its in enumerate(group_n) if its == group] for group in range(len(sizes)))


def _seeds(routing_nC: NDArray[np.float64], count: int) -> list[int]:
    """Return tokens far apart: the two that differ most, then each time the one farthest from its nearest seed.

    Ties go to the lowest indices.
    """
    used_n = routing_nC.sum(axis=1)
    distance_nn = used_n[:, None] + used_n - 2 * routing_nC @ routing_nC.T
    seeds = [int(index) for index in np.unravel_index(int(distance_nn.argmax()), distance_nn.shape)]
    if seeds[0] == seeds[1]:  # all are alike
        return list(range(count))
    while len(seeds) < count:
        nearest_n = distance_nn[seeds].min(axis=0)
        nearest_n[seeds] = -1
        seeds.append(int(nearest_n.argmax()))
    return seeds


def _assign(distance_nG: NDArray[np.float64], sizes: Sequence[int]) -> list[int]:
    """Give each token its nearest group with room, those first whose nearest and farthest groups differ most."""
    room = list(sizes)
    group_n = [0] * len(distance_nG)
    for index in np.argsort(-np.ptp(distance_nG, axis=1), kind="stable").tolist():
        with_room = [group for group in range(len(room)) if room[group]]
        group_n[index] = min(with_room, key=lambda group: float(distance_nG[index, group]))
        room[group_n[index]] -= 1
    return group_n
