"""How much popularity changes from one part of a trace to another.

The Jensen-Shannon distance, the root of the divergence in bits, is 0 for equal distributions and 1 for disjoint ones.

Source: Lin, "Divergence measures based on the Shannon entropy" (IEEE Transactions on Information Theory, 1991); Endres
and Schindelin, "A new metric for probability distributions" (2003), for its root being a distance. That popularity
depends on the request is Xue et al., "MoE-Infinity" (2024).

Limits: a part with few tokens differs from another by chance; `between_shuffled_halves` is what chance alone brings.
"""

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids
from traces.statistics.popularity import use_counts


def jensen_shannon_distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distance of the distributions along the last axis, given as counts; NaN where one has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = (counts / counts.sum(axis=-1, keepdims=True) for counts in (one, other))
        middle = (p + q) / 2
        terms = [np.where(part > 0, part * np.log2(part / middle), 0.0).sum(axis=-1) for part in (p, q)]
        empty = np.isnan(p).any(axis=-1) | np.isnan(q).any(axis=-1)
        return np.asarray(np.where(empty, np.nan, np.sqrt(np.maximum((terms[0] + terms[1]) / 2, 0))))


def sequence_counts(ids_TLK: Ids, sequence_start: NDArray[np.int64], num_experts: int) -> NDArray[np.int32]:
    """Return each sequence's tokens that use an expert, [S, L, E]."""
    num_sequences = len(sequence_start) - 1
    num_tokens, num_layers, top_k = ids_TLK.shape
    sequence_N = np.repeat(np.arange(num_sequences), np.diff(sequence_start) * top_k)
    counts = np.empty((num_sequences, num_layers, num_experts), np.int32)
    for layer in range(num_layers):
        flat = sequence_N * num_experts + ids_TLK[:, layer].reshape(num_tokens * top_k)
        counts[:, layer] = np.bincount(flat, minlength=num_sequences * num_experts).reshape(num_sequences, num_experts)
    return counts


def between_halves(ids_TLK: Ids, num_experts: int) -> NDArray[np.float64]:
    """Return the distance of the popularity in the trace's first half of tokens from that in its second, [L]."""
    middle = len(ids_TLK) // 2
    return jensen_shannon_distance(use_counts(ids_TLK[:middle], num_experts), use_counts(ids_TLK[middle:], num_experts))


def between_shuffled_halves(ids_TLK: Ids, num_experts: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Return the distance between two random halves of the tokens, [L]: what is left without any order."""
    order = np.random.default_rng(seed).permutation(len(ids_TLK))
    return between_halves(ids_TLK[order], num_experts)


def between_sequences(counts_SLE: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the mean distance of a sequence's popularity from the next one's, [L]; NaN for a single sequence."""
    if len(counts_SLE) < 2:
        return np.full(counts_SLE.shape[1], np.nan)
    counts = counts_SLE.astype(np.int64)
    return np.asarray(jensen_shannon_distance(counts[1:], counts[:-1]).mean(axis=0))
