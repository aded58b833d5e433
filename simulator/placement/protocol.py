"""The contract of a placement: what is on the GPU before the first step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The slots there are: `num_slots` in all, of them `of_bank` for each bank, or None where all banks compete for all."""

    num_slots: int
    of_bank: Sequence[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Residents:
    """What is on the GPU at first.

    `pinned` keys stay for the whole run, outside every eviction order. `warm` keys are put into the pools in this order, so
    the last is the most recently used; those for which their pool has no slot are left out. With `shares_rest`, the slots
    that `pinned` leaves form one pool for all banks, so a bank has no slots of its own.
    """

    pinned: Sequence[int] = ()
    warm: Sequence[int] = field(default=())
    shares_rest: bool = False


class Placement(Protocol):
    """Say what is on the GPU before the first step. Built as `Policy(view, **parameters)`."""

    def place(self, room: Room) -> Residents:
        """Choose residents, no more than there is room for.

        Without `shares_rest`, no more of each bank than it has slots, if it has some of its own.
        """
