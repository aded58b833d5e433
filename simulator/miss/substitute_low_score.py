"""Substitute missing experts of a low gate score by resident ones."""

from collections.abc import Sequence

from simulator.miss.alternatives import Alternatives
from simulator.miss.otherwise import action_otherwise
from simulator.miss.protocol import MissAction
from simulator.miss.tokens import mass_shares, missing_keys
from simulator.view import View


class SubstituteLowScore:
    """Replace a token's missing experts of little gate mass by the best resident one; important experts are kept.

    An expert is of little importance to a token if its share of the token's gate mass is less than `below`. The best
    resident one, of those that the token does not use, is the one most often active together with the missing one
    (`by` co_activation, from the view's training) or the most popular of the layer (`by` popularity). What is left is
    handled as `otherwise` says.

    Likeness of a pair is its co-activations over those of the missing expert's best partner; 0 by popularity.

    Source: SMoE, arXiv 2508.18983, abstract: low-importance active experts are substituted by functionally similar ones in
    GPU memory. The threshold and the measure of likeness are UNVERIFIED: the defaults are ours.

    Limits: SMoE's scheduling and prefetching of important experts are not part of it.
    """

    def __init__(self, view: View, *, below: float = 0.2, by: str = "co_activation", otherwise: str = "fetch") -> None:
        if not 0 < below <= 1:
            raise ValueError(f"below is {below}; it should be a share of the gate mass above 0, up to 1")
        view.require_gate_weights()
        self._view = view
        self._below = below
        self._alternatives = Alternatives(view, by=by)
        self._otherwise = action_otherwise(otherwise)

    def reroute(self) -> Sequence[Sequence[int]]:
        """Replace what is missing and of little importance, each token's stronger picks first."""
        view = self._view
        picks = view.picks()
        missing = missing_keys(view, picks)
        if not missing:
            return picks
        layer = view.visit % view.num_layers
        result = []
        for token, weights in zip(picks, view.weights(), strict=True):
            used, replaced = set(token), list(token)
            for rank, (key, share) in enumerate(zip(token, mass_shares(weights), strict=True)):
                if key in missing and share < self._below:
                    best = self._alternatives.best(key, layer=layer, used=used)
                    if best is not None:
                        used.add(best)
                        replaced[rank] = best
            result.append(replaced)
        return result

    def similarity(self, wanted: int, substitute: int) -> float:
        """Return how often the two are active together, relative to the wanted expert's best partner."""
        return self._alternatives.similarity(wanted, substitute, layer=self._view.visit % self._view.num_layers)

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Handle what was not replaced."""
        del num_tokens
        return [self._otherwise] * len(keys)
