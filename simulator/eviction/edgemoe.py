"""Evict by how likely an expert is reused and how far away its layer is."""

import numpy as np

from simulator.eviction.fitting import uses_per_token
from simulator.eviction.scored import Keys, Layers, Scored, Scores
from simulator.view import View


class EdgeMoE(Scored):
    """Evict the key of lowest reuse probability over distance: the visits until its layer comes again, 1..num_layers.

    The probability is the share of tokens that used the expert in recorded routing of other sequences.

    Source: R. Yi, L. Guo, S. Wei, A. Zhou, S. Wang, M. Xu: "EdgeMoE: empowering sparse large language models on mobile
    devices", arXiv 2308.14352, on expert eviction: less frequent experts, and those whose layer lies farther ahead, go
    first. How the two are combined is UNVERIFIED; the quotient is ours.
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._layers = Layers(view)
        self._probability = uses_per_token(view.training)

    def scores(self, keys: Keys) -> Scores:
        """Return the probabilities over the distances."""
        return np.asarray(self._probability[keys % self._view.num_keys] / self._layers.visits_until(keys))
