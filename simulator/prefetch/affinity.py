"""Follow the inter-layer affinity of experts."""

from collections.abc import Mapping, Sequence

import numpy as np

from simulator.prefetch.counting import (
    Integers,
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

STEP_START = -1
"""The layer before the first: what is known there is what the token before has picked at the last."""

_WEIGHT_UNIT = 1 << 15
_Token = tuple[Sequence[int], Sequence[float]]


class Affinity:
    """Prefetch the experts that most often follow those picked now, in the next `distance` layers.

    An expert's score is the sum, over the experts that the current gate has picked for all tokens, of P(it is picked
    d layers on | they are picked), each times its gate weight if `weighted`. Each distance has probabilities of its own.
    `experts` of each layer are named (0: as many distinct ones as were picked), nearest layer first, ties to the lowest
    key. With `wraps` the last layer's picks of each request's last token say at the start of a step what the first layers
    will pick; without, nothing is named there. `smoothing` tokens that pick as all tokens do are added to each expert's,
    so that one never seen says what is popular (our default: the paper says nothing of it).

    Source: J. Yao et al.: "Exploiting inter-layer expert affinity for accelerating mixture-of-experts model inference"
    (ExFlow), arXiv 2401.08383: P(e of layer l+1 | e of layer l), there for placement on several GPUs. As a predictor, with
    further distances and the step's start: ours.

    Limits: the picks of a token are taken as independent of one another.
    """

    def __init__(
        self,
        view: View,
        *,
        distance: int = 1,
        experts: int = 0,
        weighted: bool = False,
        wraps: bool = True,
        smoothing: float = 1.0,
    ) -> None:
        require_reach(distance, experts)
        if not smoothing >= 0:
            raise ValueError(f"smoothing is {smoothing}; it should be 0 tokens or more")
        if weighted:
            view.require_gate_weights()
        self._view = view
        self._distance = distance
        self._experts = experts
        self._weighted = weighted
        self._history: RequestHistory[_Token] | None = RequestHistory(view) if wraps else None
        self._tables = view.training.fitted(fit_affinity, distance=distance, smoothing=float(smoothing))

    def at_step_start(self) -> Sequence[int]:
        """Name what should follow the step before, where that is known."""
        return () if self._history is None else self._names(STEP_START, self._history.last(self._view.num_layers - 1))

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name what should follow the gate's picks."""
        del keys
        view = self._view
        picks = view.picks()
        tokens = list(zip(picks, view.weights() if self._weighted else [()] * len(picks), strict=True))
        layer = view.visit % view.num_layers
        if layer < view.num_layers - 1:
            return self._names(layer, tokens)
        if self._history is not None:
            self._history.note(tokens)
        return ()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate has said it all."""
        return ()

    def _names(self, layer: int, tokens: Sequence[_Token]) -> list[int]:
        picked = experts_of((picks for picks, _ in tokens), self._view.num_experts)
        if not picked:
            return []
        weights = None
        if self._weighted:
            of_picks = [weight for _, of_token in tokens for weight in of_token]
            weights = np.rint(np.array(of_picks) * _WEIGHT_UNIT).astype(np.int64)
        count = self._experts or len(set(picked))
        names: list[int] = []
        for target in range(layer + 1, min(layer + self._distance + 1, self._view.num_layers)):
            table = self._tables[layer, target]
            scores = sum_of_rows(table, picked) if weights is None else (weights[:, None] * table[picked]).sum(axis=0)
            names += best(scores, count, self._view.first_key(target))
        return list(dict.fromkeys(names))


def fit_affinity(training: Training, *, distance: int, smoothing: float) -> Mapping[tuple[int, int], Integers]:
    """Return P(expert of a later layer | expert of this one) in units of 2**-20, [experts, experts] by (layer, later one).

    From `STEP_START`, the condition is on the picks of the token before at the last layer.
    """
    experts, first, size = experts_by_layer(training), starts_sequence(training), training.num_experts
    continued = np.flatnonzero(~first)
    num_layers, num_tokens, _ = experts.shape
    tables = {}
    for layer in range(STEP_START, num_layers - 1):
        for target in range(layer + 1, min(layer + distance + 1, num_layers)):
            if layer == STEP_START:
                given, then = experts[-1][continued - 1], experts[target][continued]
            else:
                given, then = experts[layer], experts[target]
            popularity = np.bincount(experts[target].ravel(), minlength=size) / num_tokens
            followed = co_occurrences(given, then, num_rows=size, num_columns=size) + smoothing * popularity
            seen = np.bincount(given.ravel(), minlength=size) + smoothing
            tables[layer, target] = whole(followed / np.maximum(seen, 1e-9)[:, None])
    return tables
