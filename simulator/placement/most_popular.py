"""Which experts are the most popular."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.placement.protocol import Room


def most_popular(counts: NDArray[np.int64], room: Room) -> Sequence[int]:
    """Return the keys of the experts with the highest `counts` [num_keys] that fill a room, most popular first.

    Ties go to the lowest key. Where banks have slots of their own, each bank's experts stand together, bank after bank.
    """
    if room.of_bank is None:
        return _first(counts, room.num_slots)
    num_experts = len(counts) // len(room.of_bank)
    return [
        bank * num_experts + expert
        for bank, num_slots in enumerate(room.of_bank)
        for expert in _first(counts[bank * num_experts :][:num_experts], num_slots)
    ]


def _first(counts: NDArray[np.int64], num_slots: int) -> list[int]:
    ranking: list[int] = np.argsort(-counts, kind="stable")[:num_slots].tolist()
    return ranking
