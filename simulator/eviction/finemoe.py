"""FineMoE's score: the probability that a similar earlier iteration suggests, times the visits while cached."""

import numpy as np

from simulator.eviction.fitting import expert_maps
from simulator.eviction.scored import Keys, Scored, Scores
from simulator.view import View


class FineMoE(Scored):
    """Evict the key of largest `1 / (p * visits)`.

    Visits are accesses since the insertion, which counts one. p is what the expert map of an earlier iteration gives
    it: of `capacity` maps from recorded routing the one whose layers so far, in this forward pass, are most similar by
    cosine. The tokens of a step are one map, their mean. `epsilon` is added to p.

    Source: H. Yu, X. Cui, H. Zhang, H. Wang, H. Wang: "Taming latency-memory trade-off in MoE-based LLM serving via
    fine-grained expert offloading", arXiv 2502.05370, on caching and on trajectory-based search; 1000 maps. `epsilon`
    is ours.

    Limits: maps hold the gate weights of the top-k alone (each the same if the trace has none); none are added during a run,
    and none are found by the prompt's embedding. A pool of one layer matches by that layer.
    """

    def __init__(self, view: View, *, capacity: int = 1000, epsilon: float = 1e-3) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it should be 1 map or more")
        if epsilon <= 0:
            raise ValueError(f"epsilon is {epsilon}; it should be above 0")
        super().__init__(view)
        training = view.training
        self._has_weights = training.has_gate_weights
        if self._has_weights:
            view.require_gate_weights()
        self._epsilon = epsilon
        self._maps_LME = expert_maps(training, capacity)
        self._similar = np.zeros(self._maps_LME.shape[1])
        self._square = np.zeros(self._maps_LME.shape[1])
        self._step = -1
        self._probability = np.zeros(view.num_keys)
        self._visits: dict[int, int] = {}

    def at_gate(self) -> None:
        """Match the forward pass so far with earlier ones."""
        view = self._view
        picks = view.picks()
        if not picks:
            return
        step, layer = divmod(view.visit, view.num_layers)
        if step != self._step:
            self._step = step
            self._similar[:] = self._square[:] = 0
        first = view.first_key(layer)
        seen = np.zeros(view.num_experts)
        weights = view.weights() if self._has_weights else [[1.0] * len(token) for token in picks]
        for token, of_token in zip(picks, weights, strict=True):
            for key, weight in zip(token, of_token, strict=True):
                seen[key - first] += weight
        maps = self._maps_LME[layer]
        self._similar += maps @ seen
        self._square += np.square(maps).sum(axis=1)
        best = int((self._similar / np.sqrt(self._square)).argmax())
        self._probability[:] = 0
        for other in range(view.num_layers):
            first = view.first_key(other)
            bank = self._probability[first : first + view.num_experts]
            np.maximum(bank, self._maps_LME[other, best], out=bank)

    def touch(self, key: int) -> None:
        """Count a visit."""
        self._visits[key] += 1

    def insert(self, key: int) -> None:
        """Add the key, with one visit."""
        super().insert(key)
        self._visits[key] = 1

    def remove(self, key: int) -> None:
        """Drop the key and its count."""
        super().remove(key)
        del self._visits[key]

    def scores(self, keys: Keys) -> Scores:
        """Return p * visits."""
        visits = np.array([self._visits[key] for key in keys.tolist()], np.float64)
        return np.asarray((self._probability[keys % self._view.num_keys] + self._epsilon) * visits)
