"""As many slots for each bank."""

from collections.abc import Sequence

from simulator.cache import split_slots
from simulator.view import View


class Equal:
    """Give each bank the same number of slots, the first ones one more where the division leaves a rest."""

    def __init__(self, view: View) -> None:
        del view

    def split(self, num_slots: int, num_banks: int) -> Sequence[int]:
        """Divide evenly."""
        return split_slots(num_slots, num_banks)
