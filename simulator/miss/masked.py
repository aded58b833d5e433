"""Route among the resident experts alone."""

from collections.abc import Sequence

from simulator.miss.alternatives import Alternatives
from simulator.miss.otherwise import action_otherwise
from simulator.miss.protocol import MissAction
from simulator.miss.tokens import missing_keys
from simulator.view import View


class Masked:
    """Replace each missing expert by the best resident one that the token does not use, so that nothing misses.

    The best is the most popular of the layer (`by` popularity) or the one most often active together with the missing one
    (`by` co_activation, from the view's training), stronger picks first. Where a layer has too few residents, the rest is
    handled as `otherwise` says; an expert in flight is waited for.

    Likeness of a pair is 0 by popularity, else its co-activations over those of the missing expert's best partner.

    Source: SwapMoE, arXiv 2308.15030: routing masked to the virtual experts, those on the GPU.

    Limits: SwapMoE's router picks the next best of the resident experts by its own score and weighs them by it; a trace
    has no scores beyond the top-k, so popularity stands in, and the weight is that of the expert replaced. Which experts
    are resident, and their exchange every few inputs, are up to placement and prefetching.
    """

    def __init__(self, view: View, *, by: str = "popularity", otherwise: str = "fetch") -> None:
        self._view = view
        self._alternatives = Alternatives(view, by=by)
        self._otherwise = action_otherwise(otherwise)

    def reroute(self) -> Sequence[Sequence[int]]:
        """Replace what is missing."""
        view = self._view
        picks = view.picks()
        missing = missing_keys(view, picks)
        if not missing:
            return picks
        layer = view.visit % view.num_layers
        result = []
        for token in picks:
            used, replaced = set(token), list(token)
            for rank, key in enumerate(token):
                if key in missing:
                    best = self._alternatives.best(key, layer=layer, used=used)
                    if best is None:
                        break
                    used.add(best)
                    replaced[rank] = best
            result.append(replaced)
        return result

    def similarity(self, wanted: int, substitute: int) -> float:
        """Return what the measure knows of likeness."""
        return self._alternatives.similarity(wanted, substitute, layer=self._view.visit % self._view.num_layers)

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Handle what found no resident in its place."""
        del num_tokens
        return [self._otherwise] * len(keys)
