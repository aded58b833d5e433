"""Leading and trailing tokens that successive sequences route alike: a prompt template seen through the router.

Where two sequences start with the same words, a causal model routes their first tokens identically, up to numerical
noise; the same words at the end come close to it. Such tokens are reused from one sequence to the next, whatever lies
between, so a cache sees them and a model of routing that does not would misjudge it.

Source: the measurement is this project's; shared prefixes as reusable state are the premise of Zheng et al., "SGLang:
Efficient Execution of Structured Language Model Programs" (2023), section 3.

Limits: neighbours in the trace only; a template that returns after another is not recognised.
"""

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids

ALIKE_FRAC = 0.75  # of the top-k sets shared, mean over layers; unrelated tokens share at most about half


def shared_tokens(ids_TLK: Ids, sequence_start: NDArray[np.int64], *, from_end: bool = False) -> NDArray[np.int64]:
    """Return [S-1]: how many leading (or trailing) tokens of sequences s and s + 1 are routed alike."""
    top_k = ids_TLK.shape[2]
    shared = []
    for left, middle, right in zip(sequence_start[:-2], sequence_start[1:-1], sequence_start[2:], strict=True):
        count = int(min(middle - left, right - middle))
        if from_end:
            one, other = ids_TLK[middle - count : middle][::-1], ids_TLK[right - count : right][::-1]
        else:
            one, other = ids_TLK[left : left + count], ids_TLK[middle : middle + count]
        alike = 0
        for first in range(0, count, 64):  # most pairs differ at once
            a, b = one[first : first + 64], other[first : first + 64]
            same = (a[..., :, None] == b[..., None, :]).sum(axis=(2, 3)).mean(axis=1) >= ALIKE_FRAC * top_k
            alike += int(np.argmin(same)) if not same.all() else len(same)
            if not same.all():
                break
        shared.append(alike)
    return np.array(shared, np.int64)
