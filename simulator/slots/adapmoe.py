"""Slots where gate lookahead errs most, by the formula of AdapMoE."""

from collections.abc import Sequence
from math import comb

import numpy as np

from simulator.slots.least_cost import fewest_slots, least_cost
from simulator.view import View

_COST_UNIT = 1e-12

_MIXTRAL_ACCURACY = (
    *(0.000, 0.566, 0.721, 0.789, 0.866, 0.859, 0.830, 0.840, 0.849, 0.801, 0.898, 0.898, 0.893, 0.910, 0.925, 0.881),
    *(0.915, 0.939, 0.905, 0.879, 0.876, 0.893, 0.879, 0.876, 0.888, 0.884, 0.922, 0.913, 0.886, 0.900, 0.903, 0.850),
)
_MIXTRAL_SINGLE = (
    *(0.000, 0.035, 0.005, 0.001, 0.000, 0.003, 0.008, 0.034, 0.035, 0.049, 0.013, 0.020, 0.030, 0.005, 0.016, 0.028),
    *(0.064, 0.071, 0.141, 0.280, 0.299, 0.365, 0.414, 0.356, 0.495, 0.521, 0.548, 0.618, 0.780, 0.884, 0.975, 0.858),
)


class AdapMoE:
    """Split so that the loads expected of all layers together are fewest, by a dynamic program.

    A layer with t slots is expected to load, when its token uses n experts and lookahead finds its next one with accuracy b,
    `E[m] - b P(m >= 1)`: of the m experts that are missing one has been prefetched if lookahead was right. m is the number
    of n experts, drawn from E, that are not among t of them. A token uses one expert with probability a, else top-k:

        f(t) = a (1 - t/E) (1 - b) + (1 - a) (E[m] - b P(m >= 1))

    `accuracy` is b, `single` a, of all layers alike; -1 stands for what was measured on Mixtral-8x7B, layer by layer, where
    in another model each layer takes the figure of the same relative depth. By default no token uses one expert alone.
    Banks that several layers draw from cost the sum.

    Source: S. Zhong et al., arXiv 2408.10284, and `src/dp.py` of PKU-SEC-Lab/AdapMoE, whose f1 to f4 for E = 8
    and top-2 this equals (f2 + f3 + f4 = 2 P2 (1 - b) + P2 b + P1 (1 - b)), and whose figures these are, to three places.
    For other E and top-k it is our extension.

    Limits: experts of a layer count as equally popular. Theirs gives each layer one slot or more, this top-k, or
    what an even split would where slots are fewer.
    """

    def __init__(self, view: View, *, accuracy: float = -1.0, single: float = 0.0) -> None:
        for name, value in (("accuracy", accuracy), ("single", single)):
            if value != -1 and not 0 <= value <= 1:
                raise ValueError(
                    f"{name} is {value}; it should be from 0 to 1, or -1 for what Mixtral-8x7B was measured at"
                )
        num_experts, top_k = view.num_experts, view.top_k
        self._top_k = top_k
        self._costs = np.zeros((view.num_keys // num_experts, num_experts + 1), np.int64)
        for layer in range(view.num_layers):
            at = layer * (len(_MIXTRAL_ACCURACY) - 1) // max(1, view.num_layers - 1)
            right = _MIXTRAL_ACCURACY[at] if accuracy == -1 else accuracy
            alone = _MIXTRAL_SINGLE[at] if single == -1 else single
            bank = view.first_key(layer) // num_experts
            for slots in range(num_experts + 1):
                one, all_k = (expected_loads(slots, num_experts, used, right) for used in (1, top_k))
                self._costs[bank, slots] += round((alone * one + (1 - alone) * all_k) / _COST_UNIT)

    def split(self, num_slots: int, num_banks: int) -> Sequence[int]:
        """Minimise the loads expected."""
        assert num_banks == len(self._costs)
        return least_cost(self._costs, num_slots, at_least=fewest_slots(num_slots, num_banks, self._top_k))


def expected_loads(num_slots: int, num_experts: int, num_used: int, accuracy: float) -> float:
    """Return the loads expected of a layer: E[m] - b P(m >= 1), with m hypergeometric."""
    missing = num_used * (num_experts - num_slots) / num_experts
    all_there = comb(num_slots, num_used) / comb(num_experts, num_used)
    return missing - accuracy * (1 - all_there)
