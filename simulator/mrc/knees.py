"""Knees of a curve: the cache sizes beyond which one more expert saves much less than before.

The curve of hits is scaled to a unit square; a knee is where it stands highest above the straight line between its ends,
or, where it has several steps, a local peak of that height which stands out by `_PROMINENCE`.

Source: Satopää, Albrecht, Irwin and Raghavan: "Finding a 'kneedle' in a haystack: detecting knee points in system behavior",
ICDCS Workshops 2011; their sensitivity is replaced by the peak's prominence.

Limits: what a knee is depends on the sizes that the curve covers; it says nothing of what an expert of cache costs.
"""

from collections.abc import Sequence

import numpy as np

_PROMINENCE = 0.03
_MOST = 3


def knees(sizes: Sequence[int], hits: Sequence[int]) -> list[int]:
    """Return the sizes at the knees, ascending, at most three: those that stand out most."""
    if len(sizes) < 3 or hits[-1] <= hits[0]:
        return []
    x = (np.array(sizes) - sizes[0]) / (sizes[-1] - sizes[0])
    height = (np.array(hits) - hits[0]) / (hits[-1] - hits[0]) - x
    found = []
    for at in range(1, len(height) - 1):
        if height[at] > height[at - 1] and height[at] >= height[at + 1]:
            prominence = _prominence(height.tolist(), at)
            if prominence >= _PROMINENCE:
                found.append((prominence, sizes[at]))
    return sorted(size for _, size in sorted(found, reverse=True)[:_MOST])


def _prominence(height: Sequence[float], peak: int) -> float:
    """Return by how much a peak stands above the higher of the two lowest points that part it from higher ground."""
    lowest = []
    for side in (range(peak - 1, -1, -1), range(peak + 1, len(height))):
        low = height[peak]
        for at in side:
            if height[at] > height[peak]:
                break
            low = min(low, height[at])
        lowest.append(low)
    return height[peak] - max(lowest)
