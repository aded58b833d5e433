"""Slots by how many experts share a bank's tokens."""

from collections.abc import Sequence

import numpy as np

from simulator.slots.least_cost import fewest_slots
from simulator.view import View


class Popularity:
    """Split in proportion to the experts that each bank needs to serve a share of its tokens, `hit_frac`.

    What a bank needs is the fewest of its experts that together take so much of its popularity: few where some experts are
    popular, many where all are alike. Each bank has top-k slots, or an even share where slots are fewer; the others go one
    by one to the bank that has fewest in proportion to its need, ties to the first, until it holds all its experts.

    Source: ours, as is the default; divisor apportionment after Adams, with bounds.
    """

    def __init__(self, view: View, *, hit_frac: float = 0.9) -> None:
        if not 0 < hit_frac <= 1:
            raise ValueError(f"hit_frac is {hit_frac}; it should be above 0 and up to 1")
        self._view, self._hit_frac = view, hit_frac

    def split(self, num_slots: int, num_banks: int) -> Sequence[int]:
        """Divide by need."""
        num_experts = self._view.num_experts
        least = fewest_slots(num_slots, num_banks, self._view.top_k)
        if not num_banks * least <= num_slots <= num_banks * num_experts:
            raise ValueError(
                f"cannot split {num_slots} slots among {num_banks} banks; each takes {least} to {num_experts} of them"
            )
        needs = self.needs()
        slots = [least] * num_banks
        for _ in range(num_slots - num_banks * least):
            open_banks = [bank for bank in range(num_banks) if slots[bank] < num_experts]
            slots[min(open_banks, key=lambda bank: slots[bank] / needs[bank])] += 1
        return slots

    def needs(self) -> Sequence[int]:
        """Return the experts that each bank needs for its share, one or more."""
        counts_BE = self._view.popularity().reshape(-1, self._view.num_experts)
        served_BE = np.sort(counts_BE, axis=1)[:, ::-1].cumsum(axis=1)
        wanted_B = self._hit_frac * served_BE[:, -1]
        needs: list[int] = ((served_BE < wanted_B[:, None]).sum(axis=1) + 1).tolist()
        return needs
