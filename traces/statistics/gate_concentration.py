"""How much of the gate's weight the first experts of a set carry: what dropping or degrading the last would cost.

Source: Zhong et al., "AdapMoE: Adaptive Sensitivity-based Expert Gating and Management" (2024), and Tang et al.,
"HOBBIT: A Mixed Precision Expert Offloading System" (2024), who treat experts by their gate weight.

Limits: weights within the chosen set; what the experts left out would have had is not in a trace.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_CHUNK_TOKENS = 8192


def rank_shares(weights_TLK: NDArray[np.float16]) -> NDArray[np.float64]:
    """Return the mean share of the set's weight that each rank carries, [L, K]; sets without weight are left out."""
    total_LK = np.zeros(weights_TLK.shape[1:])
    count_L = np.zeros(weights_TLK.shape[1])
    for share, whole in _shares(weights_TLK):
        total_LK += share.sum(axis=0)
        count_L += whole.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total_LK / count_L[:, None])


def effective_experts(weights_TLK: NDArray[np.float16]) -> NDArray[np.float64]:
    """Return the mean of exp(entropy) of the set's shares of weight, [L]: 1 if one expert has all, K if all have alike.

    Sets without weight are left out.
    """
    total_L = np.zeros(weights_TLK.shape[1])
    count_L = np.zeros(weights_TLK.shape[1])
    for share, whole in _shares(weights_TLK):
        entropy = -np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0).sum(axis=2)
        total_L += np.where(whole, np.exp(entropy), 0).sum(axis=0)
        count_L += whole.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(total_L / count_L)


def _shares(weights_TLK: NDArray[np.float16]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield (shares [n, L, K], sets with weight [n, L]) of slices of tokens."""
    for first in range(0, len(weights_TLK), _CHUNK_TOKENS):
        weight = weights_TLK[first : first + _CHUNK_TOKENS].astype(np.float64)
        total = weight.sum(axis=2, keepdims=True)
        yield weight / np.where(total > 0, total, 1), total[..., 0] > 0
