"""One bit per expert: is it wanted again soon? For the policies that work with succinct predictions.

A bit is 1 where a key is not expected among the accesses of the near future. How far that is depends on who says so:

- `oracle`: the next accesses of the pool, until they are of as many distinct keys as the pool has slots (or so many visits);
- `lookahead`: what the gates of the next `distance` layers would pick from the current state;
- `coactivation`: in each layer the experts that most often followed the current token's in recorded routing of other
  sequences, as many as the layer has slots (its part of a pool that layers share).

Limits: a pool knows the layers that compete for it from their first gates. The exact bit of the theory says whether Belady's
policy would evict the key before its next use; `oracle` is close to it, and costs no simulation of that.
"""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from simulator.eviction.fitting import next_token_uses
from simulator.view import View


class Bits(Protocol):
    """Predictions for the keys of one pool."""

    def at_gate(self) -> None:
        """Predict afresh."""

    def is_one(self, key: int) -> bool:
        """Tell whether the key is not expected soon."""


def make_bits(view: View, predictor: str, distance: int) -> Bits:
    """Return the predictions that a name stands for. Raises ValueError for another."""
    if distance < 1:
        raise ValueError(f"distance is {distance}; it should be 1 layer or more")
    if predictor == "oracle":
        return _OracleBits(view)
    if predictor == "lookahead":
        return _LookaheadBits(view, distance)
    if predictor == "coactivation":
        return _CoactivationBits(view)
    raise ValueError(f"predictor is {predictor!r}; it should be oracle, lookahead or coactivation")


class _OracleBits:
    def __init__(self, view: View) -> None:
        self._view = view
        self._oracle = view.oracle
        self._layers: set[int] = set()
        self._soon: set[int] = set()
        self._as_of = -1

    def at_gate(self) -> None:
        self._layers.add(self._view.visit % self._view.num_layers)

    def is_one(self, key: int) -> bool:
        if self._as_of != self._view.visit:
            self._as_of = self._view.visit
            self._soon = self._look()
        return key % self._view.num_keys not in self._soon

    def _look(self) -> set[int]:
        view = self._view
        num_layers, layer = view.num_layers, view.visit % view.num_layers
        num_slots = view.num_slots(layer)
        turns = sorted((other - layer - 1) % num_layers + 1 for other in self._layers or {layer})
        soon: set[int] = set()
        for turn in range(num_slots):
            step, at = divmod(turn, len(turns))
            keys = self._oracle.upcoming(step * num_layers + turns[at])
            for key in keys:
                soon.add(key)
                if len(soon) == num_slots:
                    return soon
            if not keys:
                return soon
        return soon


class _LookaheadBits:
    def __init__(self, view: View, distance: int) -> None:
        view.require_lookahead(distance)
        self._view = view
        self._distances = range(1, distance + 1)
        self._soon: set[int] = set()

    def at_gate(self) -> None:
        tokens = (token for distance in self._distances for token in self._view.lookahead(distance))
        self._soon = {key for token in tokens for key in token}

    def is_one(self, key: int) -> bool:
        return key % self._view.num_keys not in self._soon


class _CoactivationBits:
    def __init__(self, view: View) -> None:
        self._view = view
        self._uses_LEE = next_token_uses(view.training)
        self._soon_of_layer: dict[int, Iterable[int]] = {}
        self._soon: set[int] = set()

    def at_gate(self) -> None:
        view = self._view
        layer = view.visit % view.num_layers
        self._soon_of_layer.setdefault(layer, ())
        first = view.first_key(layer)
        picked = [key - first for token in view.picks() for key in token]
        scores = self._uses_LEE[layer, picked].sum(axis=0)
        num_likely = max(1, view.num_slots(layer) // len(self._soon_of_layer))
        order = np.argsort(-scores, kind="stable")[:num_likely]
        self._soon_of_layer[layer] = [first + int(expert) for expert in order if scores[expert] > 0]
        self._soon = {key for keys in self._soon_of_layer.values() for key in keys}

    def is_one(self, key: int) -> bool:
        return key % self._view.num_keys not in self._soon
