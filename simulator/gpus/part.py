"""What one of several GPUs sees and holds: the experts that it may compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.lay_out import CacheSize
from simulator.oracle import RecordedFuture
from simulator.placement.protocol import Placement, Residents, Room
from simulator.run_view import RunFacts, RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The `keys` that a GPU may compute, of `num_keys`; `make_future` gives what its gates will ask for.

    `make_future` raises ValueError where nobody knows.
    """

    keys: Sequence[int]
    num_keys: int
    make_future: Callable[[], RecordedFuture]

    @property
    def elsewhere(self) -> Sequence[int]:
        """The experts of other GPUs."""
        here = set(self.keys)
        return [key for key in range(self.num_keys) if key not in here]

    def view(self, facts: RunFacts) -> RunView:
        """Make the view of its policies."""
        return _PartView(replace(facts, make_future=self.make_future), self)

    def size(self, size: CacheSize) -> CacheSize:
        """Return a cache that is no larger than its experts are many."""
        return replace(size, experts=min(size.experts, len(self.keys)))

    def placement(self, placement: Placement) -> Placement:
        """Return a placement that leaves out what others compute."""
        return _Here(placement, set(self.keys))


class _PartView(RunView):
    """A view to which other GPUs' experts are not popular."""

    def __init__(self, facts: RunFacts, part: Part) -> None:
        super().__init__(facts)
        self._elsewhere = list(part.elsewhere)

    def popularity(self) -> NDArray[np.int64]:
        """Return how many tokens were routed to each key; 0 for those that are computed elsewhere."""
        counts = super().popularity().copy()
        counts[self._elsewhere] = 0
        return counts


class _Here:
    """A placement without the experts of other GPUs."""

    def __init__(self, placement: Placement, keys: set[int]) -> None:
        self._placement = placement
        self._keys = keys

    def place(self, room: Room) -> Residents:
        """Choose residents among this GPU's experts."""
        chosen = self._placement.place(room)
        return Residents(
            pinned=[key for key in chosen.pinned if key in self._keys],
            warm=[key for key in chosen.warm if key in self._keys],
            shares_rest=chosen.shares_rest,
        )
