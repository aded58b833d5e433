"""Keep what the current requests use, and early layers more than late ones."""

import numpy as np

from simulator.eviction.request_counts import RequestCounts
from simulator.eviction.scored import Keys, Layers, Scored, Scores
from simulator.view import View


class ActivationAware(Scored):
    """Evict the key of lowest `(share + epsilon) * (1 - layer / num_layers)`.

    Share is the part of its layer's routings that the expert has had in the requests of the current step (the
    request-level activation matrix, row by row). Experts of early layers are kept longer, as there is little time to
    prefetch them.

    Source: L. Xue, Y. Fu, Z. Lu, L. Mai, M. Marina: "MoE-Infinity", arXiv 2401.14361, on expert caching. The value of
    `epsilon`, which lets the layer decide among experts without a use, is our default.

    Limits: the matrix is that of the request so far; where the published one is completed by the most similar earlier
    request, that is the prefetcher's part alone. A batch's matrix is the sum of its requests'. Of layers that share a bank
    the first stands for all.
    """

    def __init__(self, view: View, *, epsilon: float = 1e-3) -> None:
        if epsilon <= 0:
            raise ValueError(f"epsilon is {epsilon}; it should be above 0")
        super().__init__(view)
        self._epsilon = epsilon
        self._counts = RequestCounts(view)
        self._layers = Layers(view)

    def at_gate(self) -> None:
        """Add the gate's picks to the matrices of their requests."""
        self._counts.follow()

    def scores(self, keys: Keys) -> Scores:
        """Return how likely the requests reuse each expert, weighted by its layer."""
        shares = self._counts.tokens(keys) / np.maximum(1, self._counts.routings(keys))
        return np.asarray((shares + self._epsilon) * (1 - self._layers.first(keys) / self._view.num_layers))
