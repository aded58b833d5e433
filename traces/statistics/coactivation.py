"""Which experts of one layer are chosen together.

Source: Go and Mahajan, "MoETuner: Optimized Mixture of Expert Serving with Balanced Expert Placement and Token Routing"
(2025) and Luo et al., "Occult" (2025), who place experts by how often a token picks both.

Limits: pairs only; a clique of three is seen as its three pairs. A pair's lift is noisy where both experts are rare,
so pairs expected fewer than `MIN_EXPECTED` times are left out of the summary.
"""

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids
from traces.statistics.affinity import mutual_information_bits as of_pairs
from traces.statistics.affinity import pair_counts

MIN_EXPECTED = 20.0


def coactivation_counts(ids_TLK: Ids, num_experts: int) -> NDArray[np.int64]:
    """Return [L, E, E]: tokens whose set holds both i and j; the diagonal holds the tokens that use i."""
    layers = range(ids_TLK.shape[1])
    return np.stack([pair_counts(ids_TLK[:, layer], ids_TLK[:, layer], num_experts) for layer in layers])


def lift(counts_LEE: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many times more often i and j meet than pairs drawn by popularity do, [L, E, E].

    The reference draws both members of a pair in proportion to their counts, without the same expert twice, and has as
    many pairs in all. NaN on the diagonal and where fewer than `MIN_EXPECTED` meetings are to be expected.
    """
    num_experts = counts_LEE.shape[1]
    uses_LE = np.diagonal(counts_LEE, axis1=1, axis2=2).astype(np.float64)
    other = ~np.eye(num_experts, dtype=bool)
    product = uses_LE[:, :, None] * uses_LE[:, None, :] * other
    pairs = (counts_LEE * other).sum(axis=(1, 2), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = product * (pairs / product.sum(axis=(1, 2), keepdims=True))
        return np.where(other & (expected >= MIN_EXPECTED), counts_LEE / expected, np.nan)


def best_partner_lift(counts_LEE: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over a layer's experts of the lift to their best partner, [L]; NaN if no pair can be judged."""
    best_LE = np.nan_to_num(lift(counts_LEE), nan=-1.0).max(axis=2)
    judged = best_LE >= 0
    with np.errstate(invalid="ignore"):
        return np.asarray((best_LE * judged).sum(axis=1) / judged.sum(axis=1))


def mutual_information_bits(counts_LEE: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mutual information of two different members of a set in bits, [L]; 0 for top-1 routing.

    As the members differ, it is above 0 even for sets drawn by popularity.
    """
    num_experts = counts_LEE.shape[1]
    pairs_LEE = counts_LEE * ~np.eye(num_experts, dtype=bool)
    return of_pairs(pairs_LEE) if pairs_LEE.any() else np.zeros(len(counts_LEE))
