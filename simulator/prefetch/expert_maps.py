"""Search past iterations for the one that has gone like this one so far, and prefetch what it went on to use.

Legend: N maps stored, n tokens of the step, L routing rounds, E experts of a bank, K top-k.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.training import Training
from simulator.view import View

Floats = NDArray[np.float64]

UNITS = 4096
"""Gate weights are counted in parts of this, so that products and sums are exact whatever their order."""


class ExpertMaps:
    """Prefetch for the layer `distance` ahead by the expert map that is most similar over the layers so far.

    A map is what the gates of all layers gave one token. At the gate of layer l each token's map is compared, over the
    layers up to l, with those of the store; the one with the highest cosine s, the first of several, predicts layer
    l + distance: its experts by falling probability p, ties to the lower number, until these add up to clip(1 - s, 0, 1),
    `at_least` of them. The first `distance` layers are predicted at the start of a step, from a search with all layers of
    the map that the same request's last token had. Named at each gate are the predictions for the next `distance`
    layers, by falling p / (layers from here); of several tokens or layers an expert has its highest priority.

    The store has up to `capacity` maps, of training tokens at even distances; if `online`, each step adds the map of each
    request's last token, which replaces the one most similar to it.

    Source: FineMoE (fMoE), arXiv 2502.05370, section 4 (maps, trajectory search, threshold, priority; 1000 maps,
    distance 6 in its demo). That `at_least` is one is our reading: a better match makes for fewer experts.

    Limits: the paper's semantic search compares embeddings of the input, which a trace does not have; the search with the
    previous token's map stands in for it, and a request's first step has nothing to search with. Of the gate's
    probabilities a trace has the top-k, which are taken to be all there is. Redundancy in the store is that of maps
    alone, without embeddings.
    """

    def __init__(
        self, view: View, *, distance: int = 3, capacity: int = 1000, at_least: int = 1, online: bool = True
    ) -> None:
        for name, value in (("distance", distance), ("capacity", capacity), ("at_least", at_least)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it should be 1 or more")
        view.require_gate_weights()
        self._view = view
        self._distance = distance
        self._at_least = at_least
        self._online = online
        self._maps = _spread_maps(view.training, capacity)  # [L, E, N]
        self._squares = np.square(self._maps).sum(axis=1).cumsum(axis=0)  # [L, N], over the layers up to each
        self._last: dict[int, Floats] = {}  # by request, the map of its last token, [L, E]
        self._predicted: dict[int, dict[int, float]] = {}  # by layer, the probability of each key named for it

    def at_step_start(self) -> Sequence[int]:
        """Name what the first layers used after tokens like each request's last."""
        self._predicted = {}
        for request in dict.fromkeys(self._view.requests()):
            last = self._last.get(request)
            if last is not None:
                match, similarity = self._most_similar(last)
                for layer in range(min(self._distance, self._view.num_layers)):
                    self._predict(layer, match, similarity)
        return self._by_priority(-1)

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Follow every token's map, then name what similar ones used in the layers ahead."""
        del keys
        view = self._view
        layer = view.visit % view.num_layers
        picks, weights = view.picks(), view.weights()
        if layer == 0:
            self._token_of = {request: at for at, request in enumerate(view.requests())}  # the last of each
            self._current = {at: np.zeros((view.num_layers, view.num_experts)) for at in self._token_of.values()}
            self._products = np.zeros((len(picks), self._maps.shape[2]))
            self._own_squares = np.zeros(len(picks))
        first_key = view.first_key(layer)
        for at, (token, gate) in enumerate(zip(picks, weights, strict=True)):
            experts = [key - first_key for key in token]
            units = np.rint(np.abs(gate) * UNITS)
            if at in self._current:
                self._current[at][layer, experts] = units
            self._products[at] += units @ self._maps[layer, experts]
            self._own_squares[at] += units @ units
        if layer + self._distance < view.num_layers:
            cosines = _cosines(self._products, self._squares[layer], self._own_squares[:, None])
            matches = np.argmax(cosines, axis=1)
            for at, match in enumerate(matches.tolist()):
                self._predict(layer + self._distance, match, float(cosines[at, match]))
        if layer == view.num_layers - 1:
            self._end_step()
        return self._by_priority(layer)

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the search was made at the gate."""
        return ()

    def _most_similar(self, token_map: Floats) -> tuple[int, float]:
        """Return the stored map with the highest cosine over all layers, and that cosine."""
        layers, experts = np.nonzero(token_map)
        units = token_map[layers, experts]
        cosines = _cosines(units @ self._maps[layers, experts], self._squares[-1], units @ units)
        match = int(np.argmax(cosines))
        return match, float(cosines[match])

    def _predict(self, layer: int, match: int, similarity: float) -> None:
        """Add the experts of a layer that a map names, down to the threshold."""
        row = self._maps[layer, :, match]
        total = float(row.sum())
        threshold = min(max(1 - similarity, 0.0), 1.0)
        first_key = self._view.first_key(layer)
        predicted = self._predicted.setdefault(layer, {})
        added = 0.0
        experts = np.flatnonzero(row)
        for rank, expert in enumerate(experts[np.argsort(-row[experts], kind="stable")].tolist()):
            if rank >= self._at_least and added >= threshold * total:
                break
            added += float(row[expert])
            key = first_key + expert
            predicted[key] = max(predicted.get(key, 0.0), float(row[expert]) / total)

    def _by_priority(self, layer: int) -> list[int]:
        """Return the predictions for the layers after `layer`, and forget those that it is too late for."""
        for past in [past for past in self._predicted if past <= layer]:
            del self._predicted[past]
        priorities: dict[int, float] = {}
        for following, predicted in self._predicted.items():
            for key, probability in predicted.items():
                priorities[key] = max(priorities.get(key, 0.0), probability / (following - layer))
        return sorted(priorities, key=lambda key: (-priorities[key], key))

    def _end_step(self) -> None:
        """Keep the map of each request's last token, and store it."""
        for request, at in self._token_of.items():
            token_map = self._last[request] = self._current[at]
            if self._online:
                replaced, _ = self._most_similar(token_map)
                self._maps[:, :, replaced] = token_map
                self._squares[:, replaced] = np.square(token_map).sum(axis=1).cumsum()


def _spread_maps(training: Training, capacity: int) -> Floats:
    """Return the maps of up to `capacity` tokens at even distances, [L, E, N]."""
    num_tokens = len(training.keys_TLK)
    chosen = np.arange(min(capacity, num_tokens)) * num_tokens // min(capacity, num_tokens)
    experts_NLK = training.keys_TLK[chosen] % training.num_experts
    units_NLK = np.rint(np.abs(training.weights_TLK()[chosen]) * UNITS)
    maps_NLE = np.zeros((len(chosen), training.num_layers, training.num_experts))
    np.put_along_axis(maps_NLE, experts_NLK.astype(np.int64), units_NLK, axis=2)
    return np.ascontiguousarray(maps_NLE.transpose(1, 2, 0))


def _cosines(products: Floats, squares: Floats, own_squares: Floats | float) -> Floats:
    """Return the cosines, 0 where one of the two is all zeros."""
    lengths = np.sqrt(squares * own_squares)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
