"""The contract of a queue discipline: which prefetches that wait for the link are called off."""

from collections.abc import Sequence
from typing import Protocol


class Queue(Protocol):
    """Follow the prefetches that wait. Built as `Policy(view, **parameters)`.

    Demands go before prefetches, a prefetch that a gate asks for becomes a demand, and what is in service is never called
    off, whatever the discipline (with a chunk size in the profile, a demand overtakes a prefetch at a chunk boundary).
    """

    def stale(self, queued: Sequence[int], keys: Sequence[int]) -> Sequence[int]:
        """Name those of the prefetches that wait, `queued` in their order, which are called off and give up their slot.

        Asked at each gate, whose distinct experts are `keys`, before its demands are queued; none of `queued` is in `keys`.
        """
