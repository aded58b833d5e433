"""By the number of tokens."""

from collections.abc import Sequence

from simulator.view import View


class ByLoad:
    """Put the experts with most tokens first, ties by first appearance.

    Resident experts are computed before the others in any order, so this sorts the two groups each for itself: the GPU
    begins with its heaviest resident, the link with the heaviest missing expert.

    Source: S. Zhong et al.: "HybriMoE", arXiv 2504.05897: the GPU's queue and the link's are by falling load.
    """

    def __init__(self, view: View) -> None:
        del view

    def arrange(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Sort by falling load."""
        return [keys[at] for at in sorted(range(len(keys)), key=lambda at: -num_tokens[at])]


class ByLoadAscending(ByLoad):
    """Put the experts with fewest tokens first, ties by first appearance.

    Source: the CPU's queue in HybriMoE, arXiv 2504.05897.
    """

    def arrange(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Sort by rising load."""
        return [keys[at] for at in sorted(range(len(keys)), key=lambda at: num_tokens[at])]
