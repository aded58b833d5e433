"""Predict a step's whole routing before it begins, and fill the slots in layer order."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from simulator.prefetch.counting import (
    Integers,
    best,
    experts_by_layer,
    starts_sequence,
    whole,
)
from simulator.training import Training
from simulator.view import View

_ONE = 1 << 12
"""What 1 is in a running average of 0s and 1s: whole numbers, so that it is the same on any machine."""

_EVERY_LAYER = -1
_MAX_REQUESTS = 1024
_FIT_BYTES = 1 << 28


class WholePath:
    """Predict what all layers will pick at a step's start, in one pass, and prefetch it in layer order up to the slots.

    The predictor is a linear model per layer on what a system knows before the step: a one-hot of what the request's token
    before picked at that layer, and how often each expert was picked there of late (a running average with the time constant
    `memory_tokens`; the prompt's tokens count, once they have run). Fitted by ridge regression with penalty `l2`. Before a
    request's first step it says what is popular. `experts` of each layer are named (0: as many distinct ones as the tokens
    before picked there, at least top-k), ties to the lowest key.

    A pool of slots is filled with the first layers' experts; when a layer has been computed, its share goes to the layers
    after the last that had any. Layers share a pool if they draw from one bank, or if it has more slots than a bank has
    experts (a global cache).

    Source: X. He et al.: "ExpertFlow", arXiv 2410.17954: a routing path predictor for all layers in one pass, and predictive
    locality-aware caching, which fills slots in layer order and reuses those of finished layers.

    Limits: the paper's predictor is a T5 of 7 MB that reads the tokens; traces as a rule hold none, so what replaces it sees
    routing alone, and finds less. Its time is not counted. Nothing that was wrongly brought is marked for eviction when
    the gate has spoken: that is the eviction policy's part. A prefill gets no more names than its last token's predecessor
    would. A global cache with no more slots than one bank has experts is taken for one per layer.
    """

    def __init__(self, view: View, *, experts: int = 0, memory_tokens: int = 5, l2: float = 10.0) -> None:
        if experts < 0:
            raise ValueError(f"experts is {experts}; it should be 0 (as many as the gate picks) or more")
        if memory_tokens < 1:
            raise ValueError(f"memory_tokens is {memory_tokens}; it should be 1 or more")
        if not l2 > 0:
            raise ValueError(f"l2 is {l2}; it should be above 0")
        self._view = view
        self._experts = experts
        self._memory_tokens = memory_tokens
        self._model = view.training.fitted(fit_whole_path, memory_tokens=memory_tokens, l2=float(l2))
        self._requests: dict[int, _Request] = {}  # the one seen longest ago first
        self._path: list[list[int]] = []
        self._named: list[int] = []  # how many of each layer's path have been named
        self._in_full = True

    def at_step_start(self) -> Sequence[int]:
        """Predict the path, and name as much of it as the slots hold."""
        self._path = self._predict()
        self._named = [0] * len(self._path)
        return self._fill(0)

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name nothing, and remember the picks for the next step."""
        del keys
        view = self._view
        layer, size = view.visit % view.num_layers, view.num_experts
        of_request: dict[int, list[list[int]]] = {}
        for request, token in zip(view.requests(), view.picks(), strict=True):
            of_request.setdefault(request, []).append([key % size for key in token])
        for request, tokens in of_request.items():
            known = self._requests.pop(request, None)
            if known is None:
                known = _Request(recent=self._model.popularity.copy(), previous=[[] for _ in range(view.num_layers)])
            self._requests[request] = known
            recent = known.recent[layer]
            for picks in tokens[-8 * self._memory_tokens :]:  # what came before them weighs less than exp(-8)
                recent -= recent // self._memory_tokens
                recent[picks] += _ONE // self._memory_tokens
            known.previous[layer] = tokens[-1]
        while len(self._requests) > _MAX_REQUESTS:
            del self._requests[next(iter(self._requests))]
        return ()

    def at_layer_end(self) -> Sequence[int]:
        """Give the slots of the layer that is done to those that are yet to come."""
        return () if self._in_full else self._fill(self._view.visit % self._view.num_layers + 1)

    def _predict(self) -> list[list[int]]:
        view, model = self._view, self._model
        asked = list(dict.fromkeys(view.requests()))
        known = [self._requests[request] for request in asked if request in self._requests]
        scores = model.prior * (max(1, len(asked)) - len(known))
        for request in known:
            scores = scores + model.scores(request.recent, request.previous)
        path = []
        for layer, of_layer in enumerate(scores):
            distinct = {expert for request in known for expert in request.previous[layer]}
            path.append(best(of_layer, self._experts or max(view.top_k, len(distinct)), view.first_key(layer)))
        return path

    def _fill(self, first: int) -> list[int]:
        """Name what the pools still hold, were the experts of the layers from `first` on all that is in them."""
        view = self._view
        free: dict[int, int] = {}  # slots by pool
        names: list[int] = []
        self._in_full = True
        for layer in range(first, len(self._path)):
            slots = view.num_slots(layer)
            pool = _EVERY_LAYER if slots > view.num_experts else view.first_key(layer)
            share = min(len(self._path[layer]), free.setdefault(pool, slots))
            free[pool] -= share
            names += self._path[layer][self._named[layer] : share]
            self._named[layer] = max(self._named[layer], share)
            self._in_full = self._in_full and share == len(self._path[layer])
        return list(dict.fromkeys(names))


@dataclass(slots=True, kw_only=True)
class _Request:
    """What is known of a request: running averages [layers, experts], and what its last token picked by layer."""

    recent: Integers
    previous: list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathModel:
    """A linear model per layer, its coefficients in units of 2**-20.

    `of_previous` and `of_recent` [layers, experts, experts] are for the picks of the token before and for running averages,
    `constant` [layers, experts]. `popularity` [layers, experts] is the average to begin with, `prior` [layers, experts] the
    scores of a request of which nothing is known.
    """

    of_previous: Integers
    of_recent: Integers
    constant: Integers
    popularity: Integers
    prior: Integers

    def scores(self, recent: Integers, previous: Sequence[Sequence[int]]) -> Integers:
        """Return each expert's score, [layers, experts]."""
        layers = [layer for layer, picks in enumerate(previous) for _ in picks]
        scores = self.constant.copy()
        np.add.at(scores, layers, self.of_previous[layers, list(chain.from_iterable(previous))])
        scores *= _ONE
        scores += np.einsum("le,lef->lf", recent, self.of_recent)
        return scores


def fit_whole_path(training: Training, *, memory_tokens: int, l2: float) -> PathModel:
    """Fit the linear model of each layer. The normal equations hold whole numbers alone, so they are exact."""
    experts, first, size = experts_by_layer(training), starts_sequence(training), training.num_experts
    num_layers, num_tokens, _ = experts.shape
    counts = np.array([np.bincount(of_layer.ravel(), minlength=size) for of_layer in experts])
    popularity = np.rint(counts / num_tokens * _ONE).astype(np.int64)
    of_previous, of_recent = (np.zeros((num_layers, size, size), np.int64) for _ in range(2))
    constant = np.zeros((num_layers, size), np.int64)
    at_once = max(1, _FIT_BYTES // (8 * num_tokens * size))
    for start in range(0, num_layers, at_once):
        group = range(start, min(start + at_once, num_layers))
        recent = running_averages(
            experts[group.start : group.stop], popularity[group.start : group.stop], first, memory_tokens
        )
        for layer in group:
            picked = np.zeros((num_tokens, size))
            np.put_along_axis(picked, experts[layer], 1, axis=1)
            features = np.concatenate(
                [np.roll(picked, 1, axis=0), recent[:, layer - start], np.ones((num_tokens, 1))], axis=1
            )
            features[first, :size] = 0
            scale = np.concatenate([np.ones(size), np.full(size, 1 / _ONE), [1.0]])
            products = _products(features, np.concatenate([features, picked], axis=1)) * scale[:, None]
            gram, moment = products[:, : len(scale)] * scale, products[:, len(scale) :]
            fitted = whole(np.linalg.solve(gram + np.diag([l2] * (2 * size) + [1e-6]), moment))
            of_previous[layer], of_recent[layer], constant[layer] = fitted[:size], fitted[size:-1], fitted[-1]
    prior = constant * _ONE + np.einsum("le,lef->lf", popularity, of_recent)
    return PathModel(
        of_previous=of_previous, of_recent=of_recent, constant=constant, popularity=popularity, prior=prior
    )


def running_averages(
    experts: Integers, popularity: Integers, first: NDArray[np.bool_], memory_tokens: int
) -> NDArray[np.int64]:
    """Return what the running averages were before each token, [tokens, layers, experts]."""
    num_layers, num_tokens, _ = experts.shape
    result = np.empty((num_tokens, num_layers, popularity.shape[1]), np.int64)
    recent = popularity.copy()
    layers = np.arange(num_layers)[:, None]
    for token in range(num_tokens):
        if first[token]:
            recent = popularity.copy()
        result[token] = recent
        recent -= recent // memory_tokens
        recent[layers, experts[:, token]] += _ONE // memory_tokens
    return result


def _products(features: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features.T @ columns, in blocks so small that BLAS does each in one thread.

    With threads of its own BLAS takes a hundred times as long on a machine whose cores are busy.
    """
    block = (1 << 18) // (features.shape[1] * columns.shape[1])  # OpenBLAS goes parallel above m * n * k = 2**18
    block = block if block >= 16 else 4096
    products = np.zeros((features.shape[1], columns.shape[1]))
    for start in range(0, len(features), block):
        products += features[start : start + block].T @ columns[start : start + block]
    return products
