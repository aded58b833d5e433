"""Several steps per round, each of tokens that want the same experts.

Legend: n tokens, G groups, P picks of a token in all layers, C distinct (layer, expert) pairs of a round.
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
    would lose most elsewhere, until nothing changes or `iterations` are over. Of `starts` from different seeds the division
    that needs fewest distinct experts in all is taken, or the cut in batch order if that needs no more. The groups run in
    order of their first token.

    Source: X. He et al.: "ExpertFlow: optimized expert activation and token allocation for efficient mixture-of-experts
    inference", arXiv 2410.17954, token scheduler: two consecutive batches regrouped into two of equal size by 2-means. The
    seeds, the order of assignment, `starts`, `iterations` and the way back to the batch order are ours.

    Limits: regroups what one round has; theirs takes two batches that would have run one after the other anyway, so compare
    with `micro_batches` of the same `count`. The routing is known exactly, where theirs is predicted.
    """

    def __init__(self, *, count: int = 2, starts: int = 8, iterations: int = 10) -> None:
        for name, value in (("starts", starts), ("iterations", iterations)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it should be 1 or more")
        self._count, self._starts, self._iterations = checked_count(count), starts, iterations
        self._in_order = MicroBatches(count=count)

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return clusters if they save anything."""
        best = self._in_order.groups(tokens, contexts)
        if len(best) in (1, len(tokens)):
            return best
        routing_nC = _one_hot(tokens)
        shared_nn = routing_nC @ routing_nC.T  # experts that two tokens have in common
        sizes = group_sizes(len(tokens), self._count)
        fewest = _num_distinct(routing_nC, best)
        for start in range(min(self._starts, len(tokens))):
            clusters = _clusters(shared_nn, _seeds(shared_nn, start, len(sizes)), sizes, self._iterations)
            num_distinct = _num_distinct(routing_nC, clusters)
            if num_distinct < fewest:
                best, fewest = clusters, num_distinct
        return best


def _one_hot(tokens: Sequence[TokenRouting]) -> NDArray[np.float64]:
    """Return [n, C] 0/1: which pairs each token uses. Whole numbers in floats, whose sums are exact."""
    keys_nLK = np.array(tokens, np.int64)
    pairs_nP = (keys_nLK + np.arange(keys_nLK.shape[1])[:, None] * (int(keys_nLK.max()) + 1)).reshape(len(tokens), -1)
    pairs_C, column = np.unique(pairs_nP, return_inverse=True)
    routing_nC = np.zeros((len(tokens), len(pairs_C)))
    routing_nC[np.repeat(np.arange(len(tokens)), pairs_nP.shape[1]), column.ravel()] = 1
    return routing_nC


def _num_distinct(routing_nC: NDArray[np.float64], groups: Sequence[Sequence[int]]) -> int:
    return sum(int(routing_nC[list(group)].any(axis=0).sum()) for group in groups)


def _seeds(shared_nn: NDArray[np.float64], first: int, count: int) -> list[int]:
    """Return a token and others, each the one that has least in common with those before it; ties to the lowest index."""
    seeds = [first]
    while len(seeds) < count:
        closest_n = shared_nn[seeds].max(axis=0)
        closest_n[seeds] = np.inf
        seeds.append(int(closest_n.argmin()))
    return seeds


def _clusters(
    shared_nn: NDArray[np.float64], seeds: Sequence[int], sizes: Sequence[int], iterations: int
) -> list[list[int]]:
    """Return groups of these sizes by k-means, whose distances need no vectors: only what pairs of tokens share."""
    groups = [[seed] for seed in seeds]
    for _ in range(iterations):
        distance_Gn = np.stack(
            [
                shared_nn[group][:, group].sum() / len(group) ** 2 - 2 * shared_nn[group].sum(axis=0) / len(group)
                for group in groups
            ]
        )  # squared distance from each centre, less what each token adds to all alike
        assigned = _assign(distance_Gn, sizes)
        if assigned == groups:
            break
        groups = assigned
    return sorted(groups)


def _assign(distance_Gn: NDArray[np.float64], sizes: Sequence[int]) -> list[list[int]]:
    """Give each token its nearest group with room, those first whose nearest and farthest groups differ most."""
    groups: list[list[int]] = [[] for _ in sizes]
    rows = distance_Gn.T.tolist()
    for index in np.argsort(-np.ptp(distance_Gn, axis=0), kind="stable").tolist():
        row = rows[index]
        with_room = [group for group, members in enumerate(groups) if len(members) < sizes[group]]
        groups[min(with_room, key=row.__getitem__)].append(index)
    return [sorted(group) for group in groups]
