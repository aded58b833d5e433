"""A bound on the load of those that a request would rather go to."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil


class BoundedLoad:
    """No replica gets a request that would leave it with more than `load_factor` times the mean, rounded up.

    Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", arXiv 1608.01350: m balls in n bins
    of capacity ceil((1 + epsilon) m / n), so that there is always one with room.
    """

    def __init__(self, load_factor: float) -> None:
        """Set the bound. Raises ValueError below 1."""
        if not 1 <= load_factor < float("inf"):
            raise ValueError(f"load_factor is {load_factor:g}; it should be 1 or more, as a multiple of the mean load")
        self._factor = Fraction(repr(load_factor))

    def with_room(self, loads: Sequence[int]) -> Sequence[int]:
        """Return those that may get one more request, one at least, in ascending order. `loads` are numbers of requests."""
        most = ceil(self._factor * (sum(loads) + 1) / len(loads))
        return [replica for replica, load in enumerate(loads) if load < most]
