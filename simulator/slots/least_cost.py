"""The split of slots that costs least, where what a bank costs depends on its own slots alone.

Legend: B banks, E experts of a bank.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def least_cost(costs: NDArray[np.int64], num_slots: int, *, at_least: int) -> Sequence[int]:
    """Return the slots of each bank, `at_least` or more, of least total cost; `costs` [B, E+1] has a column per number.

    Of splits that cost the same it is the evenest, that of the smallest sum of squares, and of those the one that gives the
    last banks least. Costs are whole numbers, so that ties are ties. A dynamic program over the banks, exact for costs of
    any shape. Raises ValueError where no split has `at_least` and at most E slots for each bank.
    """
    num_banks, most = costs.shape[0], costs.shape[1] - 1
    if not num_banks * at_least <= num_slots <= num_banks * most:
        raise ValueError(
            f"cannot split {num_slots} slots among {num_banks} banks; each takes {at_least} to {most} of them"
        )
    unreached = np.iinfo(np.int64).max // 4
    cost_N, squares_N = (np.full(num_slots + 1, unreached, np.int64) for _ in range(2))
    cost_N[0] = squares_N[0] = 0
    taken_BN = np.zeros((num_banks, num_slots + 1), np.int32)
    for bank in range(num_banks):
        next_cost_N, next_squares_N = (np.full(num_slots + 1, unreached, np.int64) for _ in range(2))
        for slots in range(at_least, min(most, num_slots) + 1):
            stop = num_slots + 1 - slots
            cost = np.minimum(cost_N[:stop] + costs[bank, slots], unreached)
            squares = np.minimum(squares_N[:stop] + slots * slots, unreached)
            best, best_squares = next_cost_N[slots:], next_squares_N[slots:]
            better = (cost < best) | ((cost == best) & (squares < best_squares))
            best[better], best_squares[better] = cost[better], squares[better]
            taken_BN[bank, slots:][better] = slots
        cost_N, squares_N = next_cost_N, next_squares_N
    split = []
    for bank in reversed(range(num_banks)):
        split.append(int(taken_BN[bank, num_slots]))
        num_slots -= split[-1]
    return split[::-1]


def fewest_slots(num_slots: int, num_banks: int, top_k: int) -> int:
    """Return the slots that each bank gets at least: top-k, or its even share, rounded down, where they are fewer."""
    return max(1, min(top_k, num_slots // num_banks))
