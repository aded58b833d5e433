"""A learned predictor: ridge regression on what is picked now and what the token before picked."""

from collections.abc import Mapping, Sequence

import numpy as np

from simulator.prefetch.affinity import STEP_START
from simulator.prefetch.counting import (
    Integers,
    before,
    best,
    co_occurrences,
    experts_by_layer,
    experts_of,
    starts_sequence,
    sum_of_rows,
    whole,
)
from simulator.prefetch.popularity import require_reach
from simulator.prefetch.request_history import RequestHistory
from simulator.training import Training
from simulator.view import View


class Ridge:
    """Prefetch what a linear model says the layers `stride` to `stride + distance - 1` after this one will pick.

    One model per pair of layers, fitted in closed form from recorded routing: 0/1 targets (is the expert picked?),
    regressed with penalty `l2` on a one-hot of this layer's picks and one of the picks of the request's token before at the
    layer to be predicted. Scores of all tokens are added up; `experts` of each layer are named (0: as many distinct ones as
    the gate has picked), nearest layer first, ties to the lowest key. At a step's start, this layer's picks are those of
    the token before at the last layer. Nothing is random, so no seed is taken.

    Source: stands in for the learned predictors of "ProMoE", arXiv 2410.22134 (an MLP per layer on the layer's input, with
    strides), and "ExpertFlow", arXiv 2510.26730 (a random forest on token ids and recent layers' experts). Model, features
    and the default of `l2` are ours.

    Limits: neither of them. A trace holds no hidden states and, as a rule, no tokens, so the features are routing alone,
    and recall is below what a model on hidden states reaches. In a prefill, a token's predecessor is of the same step and
    unknown, but for the first.
    """

    def __init__(self, view: View, *, distance: int = 1, stride: int = 1, experts: int = 0, l2: float = 10.0) -> None:
        require_reach(distance, experts)
        if stride < 1:
            raise ValueError(f"stride is {stride}; it should be 1 layer or more")
        if not l2 > 0:
            raise ValueError(f"l2 is {l2}; it should be above 0")
        self._view = view
        self._ahead = (stride, stride + distance)
        self._experts = experts
        self._history: RequestHistory[Sequence[int]] = RequestHistory(view)
        self._tables = view.training.fitted(fit_ridge, nearest=stride, beyond=stride + distance, l2=float(l2))

    def at_step_start(self) -> Sequence[int]:
        """Name what should follow the step before, where that is known."""
        return self._names(STEP_START, self._history.last(self._view.num_layers - 1))

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name what should follow the gate's picks."""
        del keys
        tokens = self._view.picks()
        self._history.note(tokens)
        return self._names(self._view.visit % self._view.num_layers, tokens)

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate has said it all."""
        return ()

    def _names(self, layer: int, tokens: Sequence[Sequence[int]]) -> list[int]:
        size, num_layers = self._view.num_experts, self._view.num_layers
        picked = experts_of(tokens, size)
        if not picked:
            return []
        count = self._experts or len(set(picked))
        nearest, beyond = self._ahead
        names: list[int] = []
        for target in range(layer + nearest, min(layer + beyond, num_layers)):
            previous = [size + expert for expert in experts_of(self._history.last(target), size)]
            table = self._tables[layer, target]
            scores = sum_of_rows(table, picked + previous) + len(tokens) * table[-1]
            names += best(scores, count, self._view.first_key(target))
        return list(dict.fromkeys(names))


def fit_ridge(training: Training, *, nearest: int, beyond: int, l2: float) -> Mapping[tuple[int, int], Integers]:
    """Return coefficients in units of 2**-20, by (layer, predicted layer): [features, experts].

    Features are this layer's picks, the previous token's at the predicted layer, and a constant, which no penalty holds
    down. Layers are `nearest` to `beyond - 1` apart. The normal equations hold counts alone, so they are exact.
    """
    experts, first, size = experts_by_layer(training), starts_sequence(training), training.num_experts
    constant, absent = 2 * size, 2 * size + 1
    penalty = np.diag([l2] * constant + [1e-6])
    num_layers, num_tokens, _ = experts.shape
    one = np.full((num_tokens, 1), constant)
    tables = {}
    for layer in range(STEP_START, num_layers):
        for target in range(layer + nearest, min(layer + beyond, num_layers)):
            previous = before(experts[target] + size, first, absent=absent)
            now = before(experts[-1], first, absent=absent) if layer == STEP_START else experts[layer]
            features = np.concatenate([now, previous, one], axis=1)
            rows = ~first if layer == STEP_START else slice(None)
            gram = co_occurrences(features[rows], features[rows], num_rows=absent + 1, num_columns=absent + 1)
            moment = co_occurrences(features[rows], experts[target][rows], num_rows=absent + 1, num_columns=size)
            tables[layer, target] = whole(np.linalg.solve(gram[:absent, :absent] + penalty, moment[:absent]))
    return tables
