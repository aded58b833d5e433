"""Inter-layer affinity: what a layer's experts say about the next layer's.

Draw one member of a token's set at layer l and one of its set at layer l + 1, each with equal chance: their joint
distribution gives P(next | this), and its mutual information is 0 if the layers route independently of each other.

Source: Yao et al., "Exploiting Inter-Layer Expert Affinity for Accelerating Mixture-of-Experts Model Inference" (2024),
for the conditional probability; mutual information: Shannon (1948).

Limits: adjacent rounds only. The mutual information of a finite sample is biased upwards, by about
(E - 1)**2 / (2 ln 2 * T * K**2) bits for independent layers and K well below E.
"""

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids

_CHUNK_TOKENS = 1 << 15


def pair_counts(one_TK: Ids, other_TK: Ids, num_experts: int) -> NDArray[np.int64]:
    """Return [E, E]: tokens that route to expert i in `one_TK` and to j in `other_TK`."""
    counts = np.zeros(num_experts * num_experts, np.int64)
    for first in range(0, len(one_TK), _CHUNK_TOKENS):
        one, other = (ids[first : first + _CHUNK_TOKENS].astype(np.int64) for ids in (one_TK, other_TK))
        counts += np.bincount((one[:, :, None] * num_experts + other[:, None, :]).ravel(), minlength=len(counts))
    return counts.reshape(num_experts, num_experts)


def transition_counts(ids_TLK: Ids, num_experts: int) -> NDArray[np.int64]:
    """Return [L-1, E, E]: tokens that route to expert i at layer l and to j at layer l + 1."""
    layers = range(ids_TLK.shape[1] - 1)
    counts = [pair_counts(ids_TLK[:, layer], ids_TLK[:, layer + 1], num_experts) for layer in layers]
    return np.array(counts, np.int64).reshape(len(counts), num_experts, num_experts)


def conditional(counts_LEE: NDArray[np.int64], top_k: int) -> NDArray[np.float64]:
    """Return P(j is in the next set | i is in this one), [L-1, E, E]; NaN rows for experts that were never used.

    `counts_LEE` as of `transition_counts`. Every token that uses i brings K pairs, so each row sums to K.
    """
    uses_LE1 = counts_LEE.sum(axis=2, keepdims=True) / top_k
    with np.errstate(invalid="ignore"):
        return np.asarray(counts_LEE / uses_LE1)


def mutual_information_bits(counts_LEE: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mutual information of the two members in bits, [L-1]."""
    joint = counts_LEE / counts_LEE.sum(axis=(1, 2), keepdims=True)
    independent = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log2(joint / independent), 0.0)
    return np.asarray(terms.sum(axis=(1, 2)))
