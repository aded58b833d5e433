"""Experts that tokens visit one after the other, for good.

Legend: L layers, K top-k, E experts of a bank.
"""

import numpy as np
from numpy.typing import NDArray

from simulator.cache import split_slots
from simulator.placement.protocol import Residents, Room
from simulator.placement.staging import num_staging, without
from simulator.view import View


class Affinity:
    """Pin the experts among which most tokens pass from layer to layer, as many of each bank, but for `staging` slots.

    What counts is the transition mass: how often a training token uses one pinned expert in a layer and another in the
    next. From all experts, the one that takes part in least of the mass among those that are left is dropped again and
    again, where its bank has too many; ties to the less popular, then to the highest key.

    Source: J. Yao et al.: "Exploiting inter-layer expert affinity for accelerating mixture-of-experts model inference"
    (ExFlow), arXiv 2401.08383: as many experts of each layer to a GPU, so that most transitions stay on it.
    Dropping the least connected: M. Charikar: "Greedy approximation algorithms for finding dense components in a graph",
    APPROX 2000.

    Limits: they solve an integer program for several GPUs; this is a greedy choice for one, whose other side is the host.
    """

    def __init__(self, view: View, *, staging: int = -1) -> None:
        self._num_staging = num_staging(staging, view)
        self._num_experts, self._num_banks = view.num_experts, view.num_keys // view.num_experts
        self._banks = [view.first_key(layer) // view.num_experts for layer in range(view.num_layers)]
        training = view.training
        self._popularity = training.popularity()
        self._transitions = [
            _transitions(training.keys_TLK[:, layer : layer + 2] % view.num_experts, view.num_experts)
            for layer in range(view.num_layers - 1)
        ]

    def place(self, room: Room) -> Residents:
        """Drop experts until the others fit."""
        num_experts, num_banks = self._num_experts, self._num_banks
        shares = split_slots(without(self._num_staging, room).num_slots, num_banks)
        num_excess = [max(0, num_experts - share) for share in shares]
        mass_BE = self._mass_of_all()
        mass = mass_BE.reshape(-1)
        is_droppable = np.repeat([excess > 0 for excess in num_excess], num_experts)
        is_left = np.ones(num_banks * num_experts, np.bool_)
        for _ in range(sum(num_excess)):
            least = np.flatnonzero(is_droppable & (mass == mass[is_droppable].min()))[::-1]
            key = int(least[np.argmin(self._popularity[least])])
            is_left[key] = is_droppable[key] = False
            bank, expert = divmod(key, num_experts)
            num_excess[bank] -= 1
            if not num_excess[bank]:
                is_droppable[bank * num_experts :][:num_experts] = False
            for layer, counts_EE in enumerate(self._transitions):
                if self._banks[layer] == bank:
                    mass_BE[self._banks[layer + 1]] -= counts_EE[expert]
                if self._banks[layer + 1] == bank:
                    mass_BE[self._banks[layer]] -= counts_EE[:, expert]
        return Residents(pinned=np.flatnonzero(is_left).tolist(), shares_rest=True)

    def _mass_of_all(self) -> NDArray[np.int64]:
        """Return the mass that each expert takes part in while all are left, [banks, E]."""
        mass_BE = np.zeros((self._num_banks, self._num_experts), np.int64)
        for layer, counts_EE in enumerate(self._transitions):
            bank, next_bank = self._banks[layer : layer + 2]
            mass_BE[bank] += counts_EE.sum(axis=1)
            mass_BE[next_bank] += counts_EE.sum(axis=0)
            if bank == next_bank:
                mass_BE[bank] -= counts_EE.diagonal()  # an expert's step to itself is one
        return mass_BE


def _transitions(ids_T2K: NDArray[np.int32], num_experts: int) -> NDArray[np.int64]:
    """Count [E, E] how many tokens use one expert in a layer and another in the next."""
    pairs_TKK = ids_T2K[:, 0, :, None] * num_experts + ids_T2K[:, 1, None, :]
    return np.bincount(pairs_TKK.ravel(), minlength=num_experts**2).reshape(num_experts, num_experts).astype(np.int64)
