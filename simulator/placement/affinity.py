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
    next. Keys are taken one by one, each time the one that adds most to the mass; ties to the more popular, then to the
    lowest key.

    Source: J. Yao et al.: "Exploiting inter-layer expert affinity for accelerating mixture-of-experts model inference"
    (ExFlow), arXiv 2401.08383: as many experts of each layer to a GPU, so that most transitions stay on it.

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
        """Pin the chain that grows from the most popular expert."""
        num_experts, num_banks = self._num_experts, self._num_banks
        num_left = split_slots(without(self._num_staging, room).num_slots, num_banks)
        gain_BE = np.zeros((num_banks, num_experts), np.int64)
        for layer, counts_EE in enumerate(self._transitions):
            if self._banks[layer] == self._banks[layer + 1]:
                gain_BE[self._banks[layer]] += counts_EE.diagonal()
        popularity = self._popularity
        is_open = np.ones(num_banks * num_experts, np.bool_)
        pinned: list[int] = []
        while True:
            for bank in range(num_banks):
                if not num_left[bank]:
                    is_open[bank * num_experts :][:num_experts] = False
            if not is_open.any():
                return Residents(pinned=pinned, shares_rest=True)
            best = np.flatnonzero(is_open & (gain_BE.ravel() == gain_BE.ravel()[is_open].max()))
            key = int(best[np.argmax(popularity[best])])
            pinned.append(key)
            is_open[key] = False
            bank, expert = divmod(key, num_experts)
            num_left[bank] -= 1
            for layer, counts_EE in enumerate(self._transitions):
                if self._banks[layer] == bank:
                    gain_BE[self._banks[layer + 1]] += counts_EE[expert]
                if self._banks[layer + 1] == bank:
                    gain_BE[self._banks[layer]] += counts_EE[:, expert]


def _transitions(ids_T2K: NDArray[np.int32], num_experts: int) -> NDArray[np.int64]:
    """Count [E, E] how many tokens use one expert in a layer and another in the next."""
    pairs_TKK = ids_T2K[:, 0, :, None] * num_experts + ids_T2K[:, 1, None, :]
    return np.bincount(pairs_TKK.ravel(), minlength=num_experts**2).reshape(num_experts, num_experts).astype(np.int64)
