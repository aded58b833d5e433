"""The contract of batching: which of the tokens that are ready share a step."""

from collections.abc import Sequence
from typing import Protocol

from simulator.workload.step import TokenRouting


class Batching(Protocol):
    """Divide the sequences that decode together into steps. Built as `Policy(**parameters)`.

    With concurrency B, each round of the closed loop has up to B sequences with one token each; every group is a step of
    its own, and the groups of a round run one after the other.
    """

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return the indices of `tokens` in groups, each index once, no group empty.

        `tokens` [n][L][K] is the routing that each is about to take, which a real system has to predict; `contexts` [n] are
        the tokens that each attends to. The same arguments give the same groups: a run's steps are drawn more than once.
        """
