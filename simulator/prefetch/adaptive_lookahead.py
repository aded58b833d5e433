"""Gate lookahead over a number of layers that follows from the machine and from what became of the prefetches."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from simulator.view import View


class AdaptiveLookahead:
    """Prefetch what the gates of the next S layers would pick, with S adapted while the run goes on.

    S starts at N_e * E_s / (C_s * T_l), rounded up: as many layers as a layer's N_e experts take to come over the link.
    N_e is the number of distinct experts that the first gate picks, E_s / C_s a transfer and T_l a layer's time, its
    non-expert work and its experts. It stays within 1 and `max_distance`.

    A layer that asks for an expert which is not resident counts as a stall; `stalls` of them, and S grows by one. An expert
    that was absent when it was named for a layer, and that the layer then does not ask for, counts as over-fetched;
    `overfetches` of them, and S shrinks by one. A count begins anew when it has had its effect.

    Source: ExpertFlow, arXiv 2510.26730, section 4 (initial lookahead, two counters with thresholds). The thresholds are
    not published: the defaults are ours, as is what counts for them.

    Limits: N_e comes from the first gate and not from the diversity of embeddings; candidates are the live gates', not a
    random forest's over token ids and recent layers, and predictions are not cached.
    """

    def __init__(self, view: View, *, max_distance: int = 3, stalls: int = 8, overfetches: int = 16) -> None:
        for name, value in (("max_distance", max_distance), ("stalls", stalls), ("overfetches", overfetches)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it should be 1 or more")
        view.require_lookahead(max_distance)
        self._view = view
        self._max_distance = max_distance
        self._most_stalls, self._most_overfetches = stalls, overfetches
        self._num_stalls = self._num_overfetched = 0
        self._named: dict[int, set[int]] = {}  # by visit, the keys that were absent when they were named for it
        self.distance = 0  # not known before the first gate

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: there is no state yet."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Adapt S, then name the picks of the gates ahead, each once."""
        view = self._view
        if self.distance == 0:
            self.distance = self._clipped(self._initial_distance(len(keys)))
        self._adapt(keys)
        picks: dict[int, None] = {}
        for distance in range(1, self.distance + 1):
            of_layer = dict.fromkeys(key for token in view.lookahead(distance) for key in token)
            absent = {key for key in of_layer if not (view.is_resident(key) or view.is_in_flight(key))}
            if absent:
                self._named.setdefault(view.visit + distance, set()).update(absent)
            picks |= of_layer
        return list(picks)

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gates have said it all."""
        return ()

    def _initial_distance(self, num_experts: int) -> int:
        costs = self._view.costs
        layer_ns = costs.layer_ns + num_experts * costs.expert_ns(1)
        return ceil(Fraction(num_experts * costs.transfer_ns, max(1, layer_ns)))

    def _clipped(self, distance: int) -> int:
        return min(max(distance, 1), self._max_distance)

    def _adapt(self, keys: Sequence[int]) -> None:
        self._num_stalls += not all(map(self._view.is_resident, keys))
        self._num_overfetched += len(self._named.pop(self._view.visit, set()).difference(keys))
        if self._num_stalls >= self._most_stalls:
            self._num_stalls = 0
            self.distance = self._clipped(self.distance + 1)
        if self._num_overfetched >= self._most_overfetches:
            self._num_overfetched = 0
            self.distance = self._clipped(self.distance - 1)
