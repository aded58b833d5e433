"""Follow the activation paths through three layers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.prefetch.counting import Integers, best, experts_by_layer, whole
from simulator.training import Training
from simulator.view import View


class EdgeMoE:
    """Prefetch the next layer's likeliest experts, given the experts of this layer and of the one before.

    A table says for each pair of experts in two successive layers what the tokens that took it picked in the next. For
    each token, the pairs of the first `ranks` picks of both layers are looked up and what they say is added up; the
    `experts` of highest score are named, ties to the lowest key. After the first layer its picks alone are looked up; at a
    step's start nothing is named.

    Source: R. Yi et al.: "EdgeMoE", arXiv 2308.14352: a table of activation paths over the previous two layers, the first
    1 to 3 experts preloaded. Its models pick one expert; several (`ranks`), and adding them up, are ours.

    Limits: a pair that training has not shown says nothing.
    """

    def __init__(self, view: View, *, experts: int = 3, ranks: int = 2) -> None:
        for name, value in (("experts", experts), ("ranks", ranks)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it should be 1 or more")
        self._view = view
        self._experts = experts
        self._ranks = ranks
        self._tables = view.training.fitted(fit_paths, ranks=ranks)
        self._before: list[list[int]] = []

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: no path has begun."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name what the paths taken so far lead to."""
        del keys
        view = self._view
        layer = view.visit % view.num_layers
        size = view.num_experts
        picked = [[key % size for key in token[: self._ranks]] for token in view.picks()]
        before, self._before = self._before, picked
        if layer == view.num_layers - 1:
            return ()
        if layer == 0:
            before = [[size]] * len(picked)
        pairs = [a * size + b for first, second in zip(before, picked, strict=True) for a in first for b in second]
        scores = self._tables[layer].scores(pairs)
        likely = min(self._experts, int(np.count_nonzero(scores)))
        return best(scores, likely, view.first_key(layer + 1))

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate has said it all."""
        return ()


class PathTable:
    """For pairs of experts, numbered `first * experts + second`: the share of their tokens that picked each expert next.

    Sparse: of the pair `pairs[i]` the entries from `start[i]` to `start[i+1]` of `experts` and `shares`.
    """

    def __init__(self, pairs: Integers, experts: Integers, *, num_experts: int) -> None:
        """Count `pairs` [tokens, P] with the `experts` [tokens, K] that followed."""
        taken = np.unique(pairs.ravel(), return_counts=True)
        followed, counts = np.unique(
            (pairs[:, :, None] * num_experts + experts[:, None, :]).ravel(), return_counts=True
        )
        self.pairs: Integers = taken[0]
        self.start = np.searchsorted(followed, np.append(self.pairs, self.pairs[-1] + 1) * num_experts)
        self.experts: NDArray[np.int32] = (followed % num_experts).astype(np.int32)
        of_pair = np.repeat(taken[1], np.diff(self.start))
        self.shares: NDArray[np.int32] = whole(counts / of_pair).astype(np.int32)
        self._num_experts = num_experts

    def scores(self, pairs: Sequence[int]) -> Integers:
        """Add up the shares of some pairs, each as often as it is named, [experts]."""
        scores = np.zeros(self._num_experts, np.int64)
        named, times = np.unique(np.array(pairs, np.int64), return_counts=True)
        at = np.searchsorted(self.pairs, named)
        for index, pair, count in zip(at.tolist(), named.tolist(), times.tolist(), strict=True):
            if index < len(self.pairs) and self.pairs[index] == pair:
                entries = slice(self.start[index], self.start[index + 1])
                scores[self.experts[entries]] += self.shares[entries].astype(np.int64) * count
        return scores


def fit_paths(training: Training, *, ranks: int) -> Sequence[PathTable]:
    """Return the table of each layer but the last, by the layer whose gate has picked last."""
    experts, size = experts_by_layer(training), training.num_experts
    tables = []
    for layer in range(len(experts) - 1):
        second = experts[layer, :, :ranks]
        first = experts[layer - 1, :, :ranks] if layer else np.full((len(second), 1), size)
        pairs = (first[:, :, None] * size + second[:, None, :]).reshape(len(second), -1)
        tables.append(PathTable(pairs, experts[layer + 1], num_experts=size))
    return tables
