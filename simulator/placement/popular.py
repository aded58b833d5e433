"""A cache that is warm at first."""

from simulator.placement.most_popular import most_popular
from simulator.placement.protocol import Residents, Room
from simulator.view import View


class Popular:
    """Start with the most popular experts resident and free to be evicted, of each bank as many as it has slots.

    They enter the eviction orders least popular first, so that the most popular is the most recently used.
    """

    def __init__(self, view: View) -> None:
        self._view = view

    def place(self, room: Room) -> Residents:
        """Fill all slots."""
        return Residents(warm=most_popular(self._view.popularity(), room)[::-1])
