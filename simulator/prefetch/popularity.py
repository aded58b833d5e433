"""Bring the experts that are popular anyway."""

from collections.abc import Sequence

import numpy as np

from simulator.prefetch.counting import best
from simulator.view import View


class Popularity:
    """Prefetch the most popular experts of the next `distance` layers, whatever the tokens are.

    `experts` of each layer are named (0: as many as the current gate has picked, all top-k at a step's start), the nearest
    layer first and the most popular expert first, ties to the lowest key. Popularity is `view.popularity`: of the training
    where the scenario sets some apart, else of the run's own load, which the result says.

    Source: the baseline of predictors, among others in "ProMoE", arXiv 2410.22134, and "Fiddler", arXiv 2402.07033 (which
    places by it).

    Limits: layers that draw from one bank share its popularity.
    """

    def __init__(self, view: View, *, distance: int = 1, experts: int = 0) -> None:
        require_reach(distance, experts)
        counts = np.asarray(view.popularity(), np.int64)
        self._view = view
        self._distance = distance
        self._experts = experts
        self._ranked = [
            best(counts[first_key : first_key + view.num_experts], view.num_experts, first_key)
            for first_key in map(view.first_key, range(view.num_layers))
        ]

    def at_step_start(self) -> Sequence[int]:
        """Name those of the first layers."""
        return self._names(0, self._view.top_k)

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name those of the next layers of the step."""
        return self._names(self._view.visit % self._view.num_layers + 1, len(keys))

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate has said it all."""
        return ()

    def _names(self, layer: int, num_picked: int) -> list[int]:
        ranked = self._ranked[layer : layer + self._distance]
        return list(dict.fromkeys(key for of_layer in ranked for key in of_layer[: self._experts or num_picked]))


def require_reach(distance: int, experts: int) -> None:
    """Raise ValueError if these say nothing about how far and how much to prefetch."""
    if distance < 1:
        raise ValueError(f"distance is {distance}; it should be 1 layer or more")
    if experts < 0:
        raise ValueError(f"experts is {experts}; it should be 0 (as many as the gate picks) or more")
