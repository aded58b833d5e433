"""Skip experts of little gate mass, resident or not."""

from collections.abc import Sequence
from math import inf

import numpy as np

from simulator.miss.otherwise import action_otherwise
from simulator.miss.protocol import DROPPED, MissAction
from simulator.miss.tokens import mass_shares
from simulator.training import Training
from simulator.view import View


class Skip:
    """Let a token do without its weakest experts where the layer is not sensitive to it, whatever is resident.

    In layer l, an expert whose share of the token's gate mass is less than sqrt(T / s_l) is dropped with all that rank
    after it; the strongest stays. The sensitivity s_l goes geometrically from `first_sensitivity` in the first layer to
    `last_sensitivity` in the last.

    With a `skip_share` above 0, T is such that this share of all that may be dropped (every pick but the strongest) is
    dropped in the view's training, or as near below as equal weights allow: with top-2 routing, the share of tokens
    that use a single expert. With 0, T is `threshold`. Misses are handled as `otherwise` says.

    Source: AdapMoE, arXiv 2408.10284, adaptive gating; its code sets T = 0.005 with 32 Fisher values for Mixtral, from 46.7
    in the first layer to about 0.02, calibrated to 24% of tokens with a single expert.

    Limits: the paper routes to two experts; dropping the tail of longer lists is our generalisation, and so are equal
    sensitivities by default and the geometric course between two. The weights of the others are not raised.
    """

    def __init__(
        self,
        view: View,
        *,
        skip_share: float = 0.24,
        threshold: float = 0.005,
        first_sensitivity: float = 1.0,
        last_sensitivity: float = 1.0,
        otherwise: str = "fetch",
    ) -> None:
        if not 0 <= skip_share <= 1:
            raise ValueError(f"skip_share is {skip_share}; it should be a share from 0 (threshold is T) to 1")
        if threshold <= 0:
            raise ValueError(f"threshold is {threshold}; it should be above 0")
        if first_sensitivity <= 0 or last_sensitivity <= 0:
            name = "first_sensitivity" if first_sensitivity <= 0 else "last_sensitivity"
            raise ValueError(f"{name} is {min(first_sensitivity, last_sensitivity)}; it should be above 0")
        view.require_gate_weights()
        self._view = view
        self._otherwise = action_otherwise(otherwise)
        last = max(1, view.num_layers - 1)
        ratio = last_sensitivity / first_sensitivity
        sensitivities = [first_sensitivity * ratio ** (layer / last) for layer in range(view.num_layers)]
        self._sensitivities = sensitivities
        self._threshold = _calibrated(view.training, sensitivities, skip_share) if skip_share else threshold

    def reroute(self) -> Sequence[Sequence[int]]:
        """Drop each token's tail."""
        view = self._view
        sensitivity, threshold = self._sensitivities[view.visit % view.num_layers], self._threshold
        result = []
        for token, weights in zip(view.picks(), view.weights(), strict=True):
            shares = mass_shares(weights)
            weak = (rank for rank in range(1, len(token)) if shares[rank] ** 2 * sensitivity < threshold)
            kept = next(weak, len(token))
            result.append([*token[:kept], *[DROPPED] * (len(token) - kept)])
        return result

    def similarity(self, wanted: int, substitute: int) -> float:
        """Nothing is substituted."""
        return float(wanted == substitute)

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Handle what is kept and missing."""
        del num_tokens
        return [self._otherwise] * len(keys)


def _calibrated(training: Training, sensitivities: Sequence[float], skip_share: float) -> float:
    """Return the T under which the stated share of the picks after the first is dropped there."""
    weights = training.weights_TLK().astype(np.float64)
    total = weights.sum(axis=2, keepdims=True)
    shares = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / weights.shape[2])[:, :, 1:]
    thresholds = np.sort((shares**2 * np.array(sensitivities)[None, :, None]).ravel())
    num_dropped = int(skip_share * len(thresholds))
    return float(thresholds[num_dropped]) if num_dropped < len(thresholds) else inf
