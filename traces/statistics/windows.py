"""How many distinct experts a run of tokens, or a batch of sequences, touches: what chunked prefill must load.

A layer that runs n tokens at once loads the union of their top-k sets; its growth with n says how far batching shares
experts, and its distance from E how sparse a chunk still is.

Source: Huang et al., "Towards MoE Deployment: Mitigating Inefficiencies in Mixture-of-Expert Inference" (2023) for the
share of experts that a batch activates; the growth of the union with the number of tokens is Denning's working-set
size, "The working set model for program behavior" (Communications of the ACM, 1968).

Limits: a batch is sequences that stand next to each other in the trace, aligned at their first recorded token.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids
from traces.statistics.recency import stamps

WINDOWS = (2, 4, 8, 16, 32, 64)
BATCHES = (2, 4, 8, 16, 32, 64)


def window_unions(
    ids_TLK: Ids, sequence_start: NDArray[np.int64], num_experts: int, windows: Sequence[int] = WINDOWS
) -> NDArray[np.float64]:
    """Return the mean number of distinct experts in `windows[i]` successive tokens of one sequence, [windows, L].

    Every window that lies within one sequence counts once; NaN where none does.
    """
    num_tokens, num_layers, top_k = ids_TLK.shape
    age_T = np.arange(num_tokens) - np.repeat(sequence_start[:-1], np.diff(sequence_start))
    whole = [age_T >= window - 1 for window in windows]
    union = np.full((len(windows), num_layers), np.nan)
    for layer in range(num_layers):
        totals = [0] * len(windows)
        for first, stamp_En in stamps(ids_TLK[:, layer], num_experts):
            after_En = stamp_En[:, 1:]
            tokens = np.arange(first, first + after_En.shape[1])
            never = np.iinfo(after_En.dtype).max
            for row, window in enumerate(windows):
                inside = whole[row][first : first + len(tokens)]
                oldest = np.where(inside, (tokens - window + 1) * top_k, never).astype(after_En.dtype)
                totals[row] += int(np.count_nonzero(after_En >= oldest))
        for row, total in enumerate(totals):
            if count := int(whole[row].sum()):
                union[row, layer] = total / count
    return union


def batch_unions(
    ids_TLK: Ids, sequence_start: NDArray[np.int64], num_experts: int, batches: Sequence[int] = BATCHES
) -> NDArray[np.float64]:
    """Return the mean number of distinct experts in one step of `batches[i]` sequences, [batches, L].

    The sequences are taken in groups in the order of the trace; a step joins their tokens at one position, as long as
    all of them run. NaN where the trace has fewer sequences than the batch.
    """
    num_layers = ids_TLK.shape[1]
    lengths_S = np.diff(sequence_start)
    union = np.full((len(batches), num_layers), np.nan)
    for row, batch in enumerate(batches):
        groups = [range(at, at + batch) for at in range(0, len(lengths_S) - batch + 1, batch)]
        total_L, count = np.zeros(num_layers), 0
        for group in groups:
            steps = int(lengths_S[group.start : group.stop].min())
            used = np.zeros((steps, num_layers, num_experts), bool)
            for sequence in group:
                start = int(sequence_start[sequence])
                np.put_along_axis(used, ids_TLK[start : start + steps].astype(np.int64), True, axis=2)
            total_L += used.sum(axis=(0, 2))
            count += steps
        if count:
            union[row] = total_L / count
    return union
