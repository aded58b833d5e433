"""What policies share that rank the keys of a pool by a number, and that look at where layers lie."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from simulator.view import View

Keys = NDArray[np.int64]
Scores = NDArray[np.float64]


class Scored(ABC):
    """Evict the key of lowest score that is not held, ties to the lowest key. A decision looks at the whole pool."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._keys: set[int] = set()

    def touch(self, key: int) -> None:
        """Do nothing: what counts is seen elsewhere."""
        del key

    def insert(self, key: int) -> None:
        """Add the key."""
        self._keys.add(key)

    def remove(self, key: int) -> None:
        """Drop the key."""
        self._keys.remove(key)

    def victim(self) -> int | None:
        """Return the key of lowest score that is not held."""
        candidates = np.array(sorted(self._keys - self._view.held), np.int64)
        return int(candidates[self.scores(candidates).argmin()]) if len(candidates) else None

    @abstractmethod
    def scores(self, keys: Keys) -> Scores:
        """Return how much each of `keys`, which ascend, deserves its slot now."""


class Layers:
    """Which layers a key belongs to: those that draw from its bank. A low-precision copy belongs where its expert does."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._num_experts, self._num_keys = view.num_experts, view.num_keys
        num_layers, num_banks = view.num_layers, view.num_keys // view.num_experts
        banks = [view.first_key(layer) // view.num_experts for layer in range(num_layers)]
        self._first_of_bank = np.array([banks.index(bank) if bank in banks else 0 for bank in range(num_banks)])
        visits = np.full((num_layers, num_banks), num_layers, np.int64)
        for layer in range(num_layers):
            for visits_ahead in range(num_layers, 0, -1):
                visits[layer, banks[(layer + visits_ahead) % num_layers]] = visits_ahead
        self._visits_until = visits

    def first(self, keys: Keys) -> Keys:
        """Return the first layer that may use each key."""
        return np.asarray(self._first_of_bank[keys % self._num_keys // self._num_experts])

    def visits_until(self, keys: Keys) -> Keys:
        """Count for each key the visits from the current one to the next that may use it, 1..num_layers."""
        layer = self._view.visit % self._view.num_layers
        return np.asarray(self._visits_until[layer, keys % self._num_keys // self._num_experts])
