"""Slots that a placement leaves unpinned, for experts that are fetched."""

from simulator.placement.protocol import Room
from simulator.view import View


def num_staging(staging: int, view: View) -> int:
    """Return how many slots a placement's parameter `staging` stands for: -1 is one token's working set, `top_k`.

    Raises ValueError for a number below -1.
    """
    if staging < -1:
        raise ValueError(f"staging is {staging}; it should be 0 slots or more, or -1 for top-k")
    return view.top_k if staging == -1 else staging


def without(num_slots: int, room: Room) -> Room:
    """Return the room that is left when so many slots are set aside.

    Of banks with slots of their own, the one that has most gives up one after the other, ties to the last; so an equal
    split of all slots becomes the equal split of those that are left.
    """
    left = max(0, room.num_slots - num_slots)
    if room.of_bank is None:
        return Room(num_slots=left, of_bank=None)
    of_bank = list(room.of_bank)
    for _ in range(room.num_slots - left):
        largest = max(of_bank)
        of_bank[len(of_bank) - 1 - of_bank[::-1].index(largest)] -= 1
    return Room(num_slots=left, of_bank=of_bank)
