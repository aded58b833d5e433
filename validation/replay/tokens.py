"""The tokens that go into a replay: drawn by (seed, sequence, position), the same in every run."""

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_WEYL = 0x9E3779B97F4A7C15


def draw_tokens(seed: int, sequence: int, positions: range, vocabulary: int) -> NDArray[np.int64]:
    """Return token ids below `vocabulary`, one per position of the context; those of a range are those of its parts.

    Source: S. Vigna, splitmix64 (public domain): a Weyl sequence whose every number is mixed into 64 random bits.
    """
    mixed_seed = int(_mix(np.array([seed & _MASK], np.uint64))[0])
    stream = _mix(np.array([(mixed_seed + sequence) & _MASK], np.uint64))
    at = np.arange(positions.start, positions.stop, dtype=np.uint64)
    return (_mix(stream + at * np.uint64(_WEYL)) % np.uint64(vocabulary)).astype(np.int64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Turn each state of a Weyl sequence into bits that look random; arithmetic modulo 2**64."""
    bits = state + np.uint64(_WEYL)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
