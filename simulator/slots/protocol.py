"""The contract of a split of slots among banks."""

from collections.abc import Sequence
from typing import Protocol


class Split(Protocol):
    """Divide the slots of a cache whose scope is `per_layer`. Built as `Policy(view, **parameters)`."""

    def split(self, num_slots: int, num_banks: int) -> Sequence[int]:
        """Return the slots of each bank, `num_slots` in all, each at most the experts of a bank and at least top-k.

        Where slots are fewer than that, each bank has its even share, rounded down, or more.
        """
