"""Minus recent score: an average of what gates have lately thought of an expert."""

import numpy as np

from simulator.eviction.scored import Keys, Scored, Scores
from simulator.view import View


class MinusRecentScore(Scored):
    """Evict the key of lowest S; at each gate of its layer, S becomes `alpha * TopP(s) + (1 - alpha) * S`.

    s is the layer's routing score of the expert, averaged over the tokens of the step; TopP keeps the `top_p` highest
    of a token's scores (0: twice top-k) and takes the others for 0.

    Source: S. Zhong, Y. Sun, L. Liang, R. Wang, R. Huang, M. Li: "HybriMoE: hybrid CPU-GPU scheduling and cache
    management for efficient MoE inference", arXiv 2504.05897, section IV-D; its code has alpha 0.5 and 12 for a top-6
    model. How a batch is averaged is not published; the mean is ours.

    Limits: needs gate weights, which a trace has of the top-k alone, so that of `top_p` scores no more than top-k are known.
    """

    def __init__(self, view: View, *, alpha: float = 0.5, top_p: int = 0) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha is {alpha}; it should be a share above 0, up to 1")
        if top_p < 0:
            raise ValueError(f"top_p is {top_p}; it should be 0 (twice top-k) or more")
        super().__init__(view)
        view.require_gate_weights()
        self._alpha = alpha
        self._num_kept = top_p or 2 * view.top_k
        self._scores = np.zeros(view.num_keys)
        self._ranked: list[int] | None = None

    def at_gate(self) -> None:
        """Move the layer's scores towards the gate's."""
        view = self._view
        picks, weights = view.picks(), view.weights()
        if not picks:
            return
        first = view.first_key(view.visit % view.num_layers)
        self._scores[first : first + view.num_experts] *= 1 - self._alpha
        share = self._alpha / len(picks)
        for token, of_token in zip(picks, weights, strict=True):
            for key, weight in zip(token[: self._num_kept], of_token, strict=False):
                self._scores[key] += share * weight

    def scores(self, keys: Keys) -> Scores:
        """Return S."""
        return np.asarray(self._scores[keys % self._view.num_keys])
