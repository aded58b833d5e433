"""By gate weight."""

from collections.abc import Sequence

from simulator.view import View


class ByWeight:
    """Put the experts of largest gate weight first, added up over the tokens of the step; ties by first appearance.

    Source: ours; with one token it is the gate's own order.

    Limits: an expert that stands in for another has the weight of tokens that picked it themselves alone.
    """

    def __init__(self, view: View) -> None:
        view.require_gate_weights()
        self._view = view

    def arrange(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Sort by falling weight."""
        del num_tokens
        mass = dict.fromkeys(keys, 0.0)
        for token, weights in zip(self._view.picks(), self._view.weights(), strict=True):
            for key, weight in zip(token, weights, strict=True):
                if key in mass:
                    mass[key] += weight
        return sorted(keys, key=lambda key: -mass[key])
