"""Match what a request has activated so far against past requests, and prefetch what the most similar one went on to use.

Legend: C matrices stored, L routing rounds, E experts of a bank.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.training import Training
from simulator.view import View

Matrix = NDArray[np.float64]
"""Tokens per expert of a request, [L, E]: whole numbers, so that products and sums of them are exact on any machine."""


class ActivationMatrix:
    """Prefetch for all later layers at once, by the expert activation matrix (EAM) of the most similar past request.

    A request's matrix counts the tokens that each layer has routed to each expert, prompt included. At the gate of layer l
    it is compared, over the rows up to l, with a collection of past matrices; the one with the highest cosine, the first of
    several, gives for expert e of a later layer i the priority p_ie * (1 - (i - l) / L), p_ie its share of row i. The
    `most` absent experts of highest priority are named, ties to the lower layer and expert; of several requests in a
    step each expert has its highest priority.

    The collection holds up to `capacity` matrices: those of the training's sequences (unless not `trained`) and, if
    `online`, those of the run's requests as they end. In a full one a new matrix replaces the one most similar to it.

    Source: MoE-Infinity, arXiv 2401.14361, sections 4 and 5 (matrices, collection, match, priority). A capacity of 3 % of
    the requests is enough there; the defaults of `capacity` and `most` are ours.

    Limits: the paper keeps one queue of all experts, in order of priority, which is revised at each layer; here those named
    last wait behind those named before, unless a queue policy calls them off, hence `most`. A request counts as ended when
    a decode step is without it, so a batching policy that divides a round breaks requests into parts.
    """

    def __init__(
        self, view: View, *, capacity: int = 300, most: int = 8, trained: bool = True, online: bool = True
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it should be 1 matrix or more")
        if most < 1:
            raise ValueError(f"most is {most}; it should be 1 expert or more")
        if not trained and not online:
            raise ValueError("trained and online are both false; one of them should be true, or nothing is ever known")
        self._view = view
        self._capacity = capacity
        self._most = most
        self._online = online
        self._current: dict[int, Matrix] = {}  # by request
        self._size = 0
        self._stored = np.zeros((view.num_layers, 0, view.num_experts))  # [L, C, E]
        if trained:
            for matrix in sequence_matrices(view.training):
                self._store(matrix)

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: nothing has been executed to compare with."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Count the gate's picks, then name what the most similar requests used later."""
        del keys
        view = self._view
        layer = view.visit % view.num_layers
        requests = view.requests()
        running = dict.fromkeys(requests)
        if layer == 0:
            self._begin_step(running)
        first_key = view.first_key(layer)
        for request, token in zip(requests, view.picks(), strict=True):
            row = self._current[request][layer]
            for key in token:
                row[key - first_key] += 1
        if not self._size:
            return ()
        priorities = np.max([self._priorities(request, layer) for request in running], axis=0)
        return self._highest(priorities, view.num_layers - len(priorities))

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the match was made at the gate."""
        return ()

    def _begin_step(self, running: Iterable[int]) -> None:
        """Close the requests that have ended, and open those that are new."""
        view = self._view
        if not view.is_prefill:
            ended = self._current.keys() - running
            for request in sorted(ended):
                matrix = self._current.pop(request)
                if self._online:
                    self._store(matrix)
        for request in running:
            if request not in self._current:
                self._current[request] = np.zeros((view.num_layers, view.num_experts))
        # Of each request and each stored matrix, over the rows so far: product, and squares of both.
        self._products = {request: np.zeros(self._size) for request in running}
        self._squares = dict.fromkeys(running, 0.0)
        self._stored_squares = np.cumsum(np.square(self._stored[:, : self._size]).sum(axis=2), axis=0)  # [L, C]

    def _priorities(self, request: int, layer: int) -> Matrix:
        """Return the priority of each expert of the layers after `layer`, [layers, E]."""
        match = self._most_similar(request, layer)
        rows = self._stored[layer + 1 :, match]
        nearness = 1 - np.arange(1, len(rows) + 1) / len(self._stored)
        priorities: Matrix = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1) * nearness[:, None]
        return priorities

    def _most_similar(self, request: int, layer: int) -> int:
        row = self._current[request][layer]
        products = self._products[request]
        products += self._stored[layer, : self._size] @ row
        self._squares[request] += float(row @ row)
        return int(np.argmax(_cosines(products, self._stored_squares[layer], self._squares[request])))

    def _highest(self, priorities: Matrix, first_layer: int) -> list[int]:
        """Return the absent keys of highest priority, given those of `first_layer` and the layers after it."""
        view = self._view
        flat = priorities.ravel()
        candidates = np.flatnonzero(flat)
        named: dict[int, None] = {}
        for at in candidates[np.argsort(-flat[candidates], kind="stable")].tolist():
            later, expert = divmod(at, view.num_experts)
            key = view.first_key(first_layer + later) + expert
            if not (view.is_resident(key) or view.is_in_flight(key)):
                named[key] = None
                if len(named) == self._most:
                    break
        return list(named)

    def _store(self, matrix: Matrix) -> None:
        if self._size == self._capacity:
            self._stored[:, self._replaced(matrix)] = matrix
            return
        if self._size == self._stored.shape[1]:
            grown = np.zeros((len(matrix), min(self._capacity, max(16, 2 * self._size)), matrix.shape[1]))
            grown[:, : self._size] = self._stored
            self._stored = grown
        self._stored[:, self._size] = matrix
        self._size += 1

    def _replaced(self, matrix: Matrix) -> int:
        """Return which of the matrices a new one replaces where all places are taken."""
        stored = self._stored
        products = np.matmul(stored, matrix[:, :, None])[:, :, 0].sum(axis=0)
        squares = np.square(stored).sum(axis=(0, 2))
        return int(np.argmax(_cosines(products, squares, float(np.square(matrix).sum()))))


def sequence_matrices(training: Training) -> Iterable[Matrix]:
    """Return the matrix of each sequence of the training, in order."""
    num_layers, num_experts = training.num_layers, training.num_experts
    rows = training.keys_TLK % num_experts + (np.arange(num_layers) * num_experts)[None, :, None]
    for start, stop in zip(training.sequence_start[:-1], training.sequence_start[1:], strict=True):
        counts = np.bincount(rows[start:stop].ravel(), minlength=num_layers * num_experts)
        yield counts.reshape(num_layers, num_experts).astype(np.float64)


def _cosines(products: Matrix, squares: Matrix, own_square: float) -> Matrix:
    """Return the cosines, 0 where one of the two is all zeros."""
    lengths = np.sqrt(squares * own_square)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
