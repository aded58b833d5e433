"""Activation matrices as MoE-Infinity's code compares them, which is not as the paper does.

Legend: C matrices stored, L routing rounds, E experts of a bank.
"""

from collections.abc import Iterable

import numpy as np

from simulator.prefetch.activation_matrix import ActivationMatrix, Matrix
from simulator.view import View


class ActivationMatrixCode(ActivationMatrix):
    """Prefetch by the past request whose rows after the current layer are most like this request's earlier tokens.

    It differs from `ActivationMatrix` thus. Rows up to the current layer l are masked in the stored matrices (1e-9, so all
    alike once each row is divided by its sum) and not in the request's, so that they make no difference, and the cosines
    of the rows are averaged: what counts is how the rows after l look from the steps before this one. In a request's
    first step all are equal and the first matrix is taken. Its rows before l are zeroed, the others, l itself among them,
    are (count + 1e-8) * (-(x - l) / (L + 1) + 1) for row x, counts not divided by anything, so that experts which were
    never used come last and not never. In a full collection a new matrix replaces the one that was matched least often
    of those not from the training (the first matrix if all are), the first of several.

    Source: github.com/TorchMoE/MoE-Infinity, moe_infinity/memory/expert_tracer.py and expert_predictor.py; a trace
    capacity of 1000 is its default. Prefetching is off there by default.

    Limits: as of `ActivationMatrix`; rows of zeros, which the code makes into NaN and then nothing, have a cosine of 0.
    """

    def __init__(
        self, view: View, *, capacity: int = 1000, most: int = 8, trained: bool = True, online: bool = True
    ) -> None:
        self._num_matched = np.zeros(capacity if capacity > 0 else 0, np.int64)
        self._num_persistent = 0
        super().__init__(view, capacity=capacity, most=most, trained=trained, online=online)
        self._num_persistent = self._size

    def _begin_step(self, running: Iterable[int]) -> None:
        """Compare each request's rows, as they were before this step, with the stored ones."""
        super()._begin_step(running)
        stored = self._stored[:, : self._size]
        lengths = np.sqrt(np.square(stored).sum(axis=2))  # [L, C]
        self._later = {}
        for request in running:
            matrix = self._current[request]
            own = np.sqrt(np.square(matrix).sum(axis=1))[:, None] * lengths
            products = np.matmul(stored, matrix[:, :, None])[:, :, 0]
            cosines = np.divide(products, own, out=np.zeros_like(products), where=own > 0)
            self._later[request] = np.cumsum(cosines[::-1], axis=0)[::-1]  # [L, C], of this row and those after it

    def _priorities(self, request: int, layer: int) -> Matrix:
        """Return the priority of each expert from `layer` on, [layers, E]."""
        match = self._most_similar(request, layer)
        self._num_matched[match] += 1
        rows = self._stored[layer:, match]
        nearness = 1 - np.arange(len(rows)) / (len(self._stored) + 1)
        return (rows + 1e-8) * nearness[:, None]

    def _most_similar(self, request: int, layer: int) -> int:
        later = self._later[request]
        return int(np.argmax(later[layer + 1])) if layer + 1 < len(later) else 0

    def _store(self, matrix: Matrix) -> None:
        at = self._size if self._size < self._capacity else self._replaced(matrix)
        super()._store(matrix)
        self._num_matched[at] = 1

    def _replaced(self, matrix: Matrix) -> int:
        del matrix
        if self._num_persistent == self._capacity:
            return 0
        return self._num_persistent + int(np.argmin(self._num_matched[self._num_persistent :]))
