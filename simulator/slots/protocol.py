"""The contract of a split of slots among banks."""

from collections.abc import Sequence
from typing import Protocol


class Split(Protocol):
    """Divide the slots of a cache whose scope is `per_layer`. Built as `Policy(view, **parameters)`."""

    def split(self, num_slots: int, num_banks: int) -> Sequence[int]:
        """Return the slots of each bank, `num_slots` in all, each at least top-k and at most the experts of a bank."""
