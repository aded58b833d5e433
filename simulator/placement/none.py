"""Nothing is resident at first."""

from simulator.placement.protocol import Residents, Room
from simulator.view import View


class Cold:
    """Start with an empty cache, which the run's own fetches fill."""

    def __init__(self, view: View) -> None:
        del view

    def place(self, room: Room) -> Residents:
        """Place nothing."""
        del room
        return Residents()
