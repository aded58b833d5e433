"""The contract of miss handling."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol


class MissAction(Enum):
    """What to do for one missing expert."""

    FETCH = "fetch"
    CPU = "cpu"


class Miss(Protocol):
    """Decide for the experts that a layer asks for and the GPU lacks. Built as `Policy(view, **parameters)`."""

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Return one action for each missing key, in order; `num_tokens` says how many tokens are routed to each."""
