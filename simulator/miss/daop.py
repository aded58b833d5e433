"""Use the experts that the gate picks one layer early, so that the CPU can begin with them."""

from collections.abc import Mapping, Sequence

from simulator.miss.alternatives import Alternatives
from simulator.miss.otherwise import action_otherwise
from simulator.miss.protocol import MissAction
from simulator.view import View


class Daop:
    """In decode, take for the next layer what its gate says of this layer's state; the CPU starts on what is missing.

    From `first_layer` (counted from 0) on, the picks predicted one layer before replace the true ones. Of a token's
    predicted experts that are not resident only the strongest stays; each weaker one gives way to the best resident
    expert that the token does not use, the most popular one. What is missing in the end is handled as
    `otherwise` says. In prefill, and before `first_layer`, the true picks stand.

    A predicted expert that the gate picks indeed keeps its place, so that it loses nothing; the others take the places of
    the picks that were not predicted, by rank. Nothing is known of the likeness of an expert and its substitute: 0.

    Source: DAOP, arXiv 2501.10375, predictive pre-calculation; the paper uses true gates in the first four blocks, and its
    code has first_predict_layer = 5. With top-2 routing, two experts on the CPU make the weaker one give way.

    Limits: the best resident expert is DAOP's by the predicted gate scores, of which a trace has the top-k only; popularity
    stands in, and the weights are those of the picks replaced. That the CPU computes with the earlier state
    loses quality beyond what is counted. Residency is looked at when the prediction is made.
    """

    def __init__(self, view: View, *, first_layer: int = 4, otherwise: str = "cpu") -> None:
        if first_layer < 1:
            raise ValueError(
                f"first_layer is {first_layer}; it should be 1 or more: the first layer has none before it"
            )
        if first_layer < view.num_layers:
            view.require_lookahead(1)
        self._view = view
        self._first_layer = first_layer
        self._alternatives = Alternatives(view, by="popularity")
        self._otherwise = action_otherwise(otherwise)
        self._plans: dict[
            int, Sequence[Sequence[int]]
        ] = {}  # by visit, [n][K] by predicted rank: this one's, the next's

    def at_gate(self) -> None:
        """Plan the next layer from what this one's state says of it."""
        view = self._view
        visit = view.visit
        self._plans = {planned: plan for planned, plan in self._plans.items() if planned == visit}
        next_layer = visit % view.num_layers + 1
        if not view.is_prefill and self._first_layer <= next_layer < view.num_layers:
            self._plans[visit + 1] = [self._degrade(token, next_layer) for token in view.lookahead(1)]

    def reroute(self) -> Sequence[Sequence[int]]:
        """Take the experts that were planned for this layer, if any were."""
        picks = self._view.picks()
        plan = self._plans.get(self._view.visit)
        if plan is None:
            return picks
        return [_each_at_its_place(token, planned) for token, planned in zip(picks, plan, strict=True)]

    def similarity(self, wanted: int, substitute: int) -> float:
        """Nothing is known of likeness."""
        return float(wanted == substitute)

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Leave what is missing to the CPU, or handle it as told."""
        del num_tokens
        return [self._otherwise] * len(keys)

    def start_early(self) -> Mapping[int, int]:
        """Name what is missing of the next layer's plan, if there is one, in the order of the picks."""
        tokens_of: dict[int, int] = {}
        for token in self._plans.get(self._view.visit + 1, ()):
            for key in token:
                if not self._view.is_resident(key):
                    tokens_of[key] = tokens_of.get(key, 0) + 1
        return tokens_of

    def _degrade(self, predicted: Sequence[int], layer: int) -> Sequence[int]:
        """Replace all experts that are not resident but the strongest of them, as far as residents are left."""
        absent = [rank for rank, key in enumerate(predicted) if not self._view.is_resident(key)]
        if len(absent) < 2:
            return predicted
        used, planned = set(predicted), list(predicted)
        for rank in absent[1:]:
            best = self._alternatives.best(predicted[rank], layer=layer, used=used)
            if best is None:
                break
            used.add(best)
            planned[rank] = best
        return planned


def _each_at_its_place(token: Sequence[int], planned: Sequence[int]) -> Sequence[int]:
    """Return the planned experts, those that the token has picked where it has them, the others where places are left."""
    others = iter([key for key in planned if key not in token])
    return [key if key in planned else next(others) for key in token]
