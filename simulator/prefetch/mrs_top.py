"""Prefetch the experts of the next layer that have scored highest of late."""

from collections.abc import Sequence

from simulator.view import View


class MRSTop:
    """Prefetch the `experts` of the next layer with the highest minus-recent scores, the highest first.

    At each gate the scores of the layer become S = alpha * s + (1 - alpha) * S, where s are the gate weights, averaged over
    the step's tokens, of the experts that the gate ranked highest, and 0 for all others. Ties go to the lower key; experts
    that never scored are not named, and after a step's last layer nothing is.

    Source: the code of HybriMoE (arXiv 2504.05897, github.com/PKU-SEC-Lab/HybriMoE), which prefetches the top
    `prefetch_size` by score and simulates nothing; alpha is 0.5 there. `experts` is our default.

    Limits: s should have the p = 2 * top-k highest scores of the gate, and a trace has the top-k only.
    """

    def __init__(self, view: View, *, experts: int = 4, alpha: float = 0.5) -> None:
        if experts < 1:
            raise ValueError(f"experts is {experts}; it should be 1 or more")
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha is {alpha}; it should be above 0 and at most 1")
        view.require_gate_weights()
        self._view = view
        self._experts = experts
        self._alpha = alpha
        self._scores = [[0.0] * view.num_experts for _ in range(view.num_layers)]

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: there is no layer before the first."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Update the scores of this layer, and name the highest of the next."""
        del keys
        view = self._view
        layer = view.visit % view.num_layers
        self._update(layer)
        following = layer + 1
        if following == view.num_layers:
            return ()
        scores, first_key = self._scores[following], view.first_key(following)
        ranked = sorted((expert for expert, score in enumerate(scores) if score > 0), key=lambda e: (-scores[e], e))
        return [first_key + expert for expert in ranked[: self._experts]]

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the scores changed at the gate."""
        return ()

    def _update(self, layer: int) -> None:
        view, alpha = self._view, self._alpha
        picks, first_key = view.picks(), view.first_key(layer)
        scores = [(1 - alpha) * score for score in self._scores[layer]]
        for token, weights in zip(picks, view.weights(), strict=True):
            for key, weight in zip(token, weights, strict=True):
                scores[key - first_key] += alpha * weight / len(picks)
        self._scores[layer] = scores
