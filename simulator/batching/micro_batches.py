"""Several steps per round, in batch order."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from simulator.workload.step import TokenRouting


class MicroBatches:
    """Cut a round's sequences, in batch order, into `count` micro-batches of the same size, the first ones one larger.

    Fewer sequences than `count` have a step each.
    """

    def __init__(self, *, count: int = 2) -> None:
        self._count = checked_count(count)

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return ranges."""
        del contexts
        sizes = group_sizes(len(tokens), self._count)
        return [range(start, stop) for start, stop in pairwise(accumulate(sizes, initial=0))]


def checked_count(count: int) -> int:
    """Return a number of groups. Raises ValueError if it is none."""
    if count < 1:
        raise ValueError(f"count is {count}; it should be 1 group or more")
    return count


def group_sizes(num_tokens: int, count: int) -> Sequence[int]:
    """Divide tokens evenly among groups, the first ones one larger, none empty."""
    count = min(count, num_tokens)
    return [num_tokens // count + (group < num_tokens % count) for group in range(count)]
