"""Temporal locality within a sequence: how much of a token's top-k set returns soon.

Source: Jiang et al., "Mixtral of Experts" (2024), section 5, for repeated choices of successive tokens; Xue et al.,
"MoE-Infinity" (2024) for reuse within a sequence as the reason to cache.

Limits: pairs of tokens of one sequence only. Reuse is counted in tokens, not in bytes or in time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids

LAGS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def expected_overlap(num_experts: int, top_k: int) -> float:
    """Return the experts that two independent, uniform top-k sets share on average: K * K / E."""
    return top_k * top_k / num_experts


def overlap_by_lag(ids_TLK: Ids, sequence_start: NDArray[np.int64], lags: Sequence[int] = LAGS) -> NDArray[np.float64]:
    """Return the mean number of experts that tokens t and t + lag of one sequence share, [lags, L].

    NaN for a lag that no sequence is long enough for.
    """
    num_tokens, num_layers, top_k = ids_TLK.shape
    lengths_S = np.diff(sequence_start)
    left_T = np.repeat(sequence_start[1:], lengths_S) - np.arange(num_tokens)  # tokens to the end, this one included
    ids_KTL = np.ascontiguousarray(ids_TLK.transpose(2, 0, 1))
    overlap = np.full((len(lags), num_layers), np.nan)
    for row, lag in enumerate(lags):
        pairs = left_T[: num_tokens - lag] > lag if lag < num_tokens else np.zeros(0, bool)
        if not pairs.any():
            continue
        shared = np.zeros((num_tokens - lag, num_layers), np.uint8 if top_k < 256 else np.uint16)
        for rank in range(top_k):
            for other in range(top_k):
                shared += ids_KTL[rank, lag:] == ids_KTL[other, : num_tokens - lag]
        overlap[row] = shared[pairs].mean(axis=0, dtype=np.float64)
    return overlap


def reuse_intervals(ids_TLK: Ids, sequence_start: NDArray[np.int64], num_experts: int) -> NDArray[np.int64]:
    """Return a histogram of the tokens between an expert's use and its last use in the same sequence, [L, max + 1].

    Column 0 counts first uses in a sequence, column n uses whose last one was n tokens earlier; max is the length of
    the longest sequence, less one.
    """
    num_tokens, num_layers, top_k = ids_TLK.shape
    lengths_S = np.diff(sequence_start)
    sequence_T = np.repeat(np.arange(len(lengths_S)), lengths_S)
    token_N = np.repeat(np.arange(num_tokens), top_k)
    longest = int(lengths_S.max())
    histogram = np.zeros((num_layers, longest), np.int64)
    for layer in range(num_layers):
        key_N = sequence_T[token_N] * num_experts + ids_TLK[:, layer].reshape(-1)
        order = np.argsort(key_N, kind="stable")
        same = key_N[order][1:] == key_N[order][:-1]
        interval = np.diff(token_N[order])[same]
        histogram[layer] = np.bincount(interval, minlength=longest)
        histogram[layer, 0] = num_tokens * top_k - len(interval)
    return histogram
