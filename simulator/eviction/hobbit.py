"""HOBBIT's score: recency, frequency, frequency of high precision, and distance of the layer."""

import numpy as np

from simulator.eviction.scored import Keys, Layers, Scored, Scores
from simulator.view import View


class Hobbit(Scored):
    """Evict the key of lowest `lru * R/T + lfu * F/T + lhu * H/T + fld * (1 - d/L)`.

    In tokens of the current sequence: T so far, R up to the expert's latest use, F routed to the expert, H visits that
    used its high-precision version; d of L layers lie between the current layer and the expert's next turn. A gate
    whose step has no request of the one before begins a new sequence, and all but d begin again.

    Source: P. Tang et al.: "HOBBIT: a mixed precision expert offloading system for fast MoE inference", arXiv
    2411.01433, on cache management. The weights were tuned on calibration data and not published; equal ones are our
    default.

    Limits: d counts forward, so that the layer that is farthest ahead goes first, as the term's name (farthest layer
    distance) says. Each pool counts H of its own keys: 0 for low-precision copies, which have a pool of theirs. A batch is
    one sequence.
    """

    def __init__(
        self, view: View, *, lru: float = 0.25, lfu: float = 0.25, lhu: float = 0.25, fld: float = 0.25
    ) -> None:
        for name, weight in (("lru", lru), ("lfu", lfu), ("lhu", lhu), ("fld", fld)):
            if weight < 0:
                raise ValueError(f"{name} is {weight}; it should be 0 or more")
        super().__init__(view)
        self._weights = lru, lfu, lhu, fld
        self._layers = Layers(view)
        self._requests: set[int] = set()
        self._step = -1
        self._num_tokens = 0
        self._last_token = np.zeros(view.num_keys)
        self._uses = np.zeros(view.num_keys)
        self._high_uses = np.zeros(2 * view.num_keys)  # those of low-precision copies are never counted
        self._picked: set[int] = set()
        self._picked_at = -1

    def at_gate(self) -> None:
        """Count the gate's picks, from zero if a sequence begins."""
        view = self._view
        step = view.visit // view.num_layers
        if step != self._step:
            self._step = step
            requests = set(view.requests())
            if requests.isdisjoint(self._requests):
                self._num_tokens = 0
                for counts in (self._last_token, self._uses, self._high_uses):
                    counts[:] = 0
            self._requests = requests
            self._num_tokens += len(view.requests())
        keys = [key for token in view.picks() for key in token]
        np.add.at(self._uses, keys, 1)
        self._last_token[keys] = self._num_tokens
        self._picked, self._picked_at = set(keys), view.visit

    def touch(self, key: int) -> None:
        """Count the use if it is one of high precision."""
        if self._picked_at == self._view.visit and key in self._picked:
            self._high_uses[key] += 1

    def insert(self, key: int) -> None:
        """Add the key; it is used unless it was prefetched."""
        super().insert(key)
        self.touch(key)

    def scores(self, keys: Keys) -> Scores:
        """Return the scores."""
        lru, lfu, lhu, fld = self._weights
        experts = keys % self._view.num_keys
        used = lru * self._last_token[experts] + lfu * self._uses[experts] + lhu * self._high_uses[keys]
        nearness = 1 - self._layers.visits_until(keys) % self._view.num_layers / self._view.num_layers
        return np.asarray(used / max(1, self._num_tokens) + fld * nearness)
