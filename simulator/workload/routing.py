"""The routing of a trace at hand as a whole, for steps whose tokens lie anywhere in it.

Legend: T tokens of the trace, n of a step, L layers, E experts of a bank, K top-k.

Limits: holds the picks of the whole trace, 2 bytes each (4 where L * E is large), so memory grows with the trace and not
with the run.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from simulator.workload.closed_loop import token_lookahead
from simulator.workload.step import TokenLookahead, TokenRouting, TokenWeights
from traces.format import Trace

_READ_TOKENS = 4096
_MOST_SMALL = 1 << 15

T = TypeVar("T")
Rows = NDArray[np.int64]


class Routing:
    """Look up tokens of a trace, checked, by their offsets in it."""

    def __init__(self, trace: Trace) -> None:
        """Read the trace. Raises TraceError at a row that is at fault."""
        num_layers, num_experts, top_k = trace.num_layers, trace.num_experts, trace.top_k
        self.num_layers, self.num_experts, self.top_k = num_layers, num_experts, top_k
        self.num_places = num_layers * num_experts
        self._trace = trace
        dtype = np.int16 if self.num_places <= _MOST_SMALL else np.int32
        self._places = np.empty((trace.num_tokens, num_layers * top_k), dtype)  # layer * E + expert
        first_place = (np.arange(num_layers) * num_experts).astype(dtype)[None, :, None]
        for start in range(0, trace.num_tokens, _READ_TOKENS):
            stop = min(start + _READ_TOKENS, trace.num_tokens)
            ids = trace.expert_ids(start, stop)
            self._places[start:stop] = np.add(ids, first_place, dtype=dtype).reshape(stop - start, -1)
        first_keys = np.array(trace.banks, dtype=np.int64) * num_experts
        self._key_of_place = (first_keys[:, None] + np.arange(num_experts)).ravel()
        self._first_offset = first_keys - np.arange(num_layers) * num_experts

    def visits(self, rows: Rows) -> "StepVisits":
        """Return what tokens ask for together."""
        return StepVisits(self, self._places[rows])

    def picks(self, rows: Rows) -> NDArray[np.int64]:
        """Count the tokens routed to each expert, by key, over all layers."""
        keys = self._key_of_place[self._places[rows].ravel()]
        return np.bincount(keys, minlength=self._trace.num_banks * self.num_experts)

    def tokens(self, rows: Rows) -> "Lazily[TokenRouting]":
        """Return the keys of each token, made as they are asked for."""
        return Lazily(len(rows), lambda: self._keys(rows))

    def weights(self, rows: Rows) -> "Lazily[TokenWeights]":
        """Return the gate weights of each token, read as they are asked for."""
        return Lazily(
            len(rows), lambda: [self._trace.gate_weights(row, row + 1)[0].astype(float).tolist() for row in rows]
        )

    def lookahead(self, rows: Rows, num_layers: int) -> "Lazily[TokenLookahead]":
        """Return what gates further on would pick for each token, read as it is asked for."""
        trace = self._trace
        return Lazily(
            len(rows), lambda: [next(token_lookahead(trace, range(row, row + 1), num_layers)) for row in rows]
        )

    def _keys(self, rows: Rows) -> Sequence[TokenRouting]:
        places = self._places[rows].reshape(len(rows), self.num_layers, self.top_k)
        keys: Sequence[TokenRouting] = (places + self._first_offset[None, :, None]).tolist()
        return keys

    def in_order(self, places: NDArray[np.signedinteger]) -> list[tuple[Sequence[int], Sequence[int] | None]]:
        """Return per layer the distinct keys of [n, L * K] places in order of first appearance, with their counts."""
        if len(places) == 1:
            keys = self._key_of_place[places[0]].reshape(self.num_layers, self.top_k).tolist()
            return [(of_layer, None) for of_layer in keys]
        flat = places.ravel()
        counts = np.bincount(flat, minlength=self.num_places)
        first = np.empty(self.num_places, np.int64)
        first[flat[::-1]] = np.arange(len(flat) - 1, -1, -1)  # of equal places the last assignment stays: the first
        present = np.flatnonzero(counts)
        layers = present // self.num_experts
        order = present[np.argsort(layers * len(flat) + first[present])]
        ends = np.cumsum(np.bincount(layers, minlength=self.num_layers)).tolist()
        keys, num_tokens = self._key_of_place[order].tolist(), counts[order].tolist()
        return [(keys[start:end], num_tokens[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


class StepVisits:
    """`simulator.workload.step.Visits` of a step: `places` [n, L * K] are layer * E + expert."""

    __slots__ = ("_in_order", "_routing", "places")

    def __init__(self, routing: Routing, places: NDArray[np.signedinteger]) -> None:
        self.places = places
        self._routing = routing
        self._in_order: list[tuple[Sequence[int], Sequence[int] | None]] | None = None

    def of_layer(self, layer: int) -> tuple[Sequence[int], Sequence[int] | None]:
        """Return the distinct keys of a layer in order of first appearance, and the tokens routed to each."""
        if self._in_order is None:
            self._in_order = self._routing.in_order(self.places)
        return self._in_order[layer]

    def counts(self) -> NDArray[np.int64]:
        """Return how many tokens are routed to each expert, [L * E]."""
        return np.bincount(self.places.ravel(), minlength=self._routing.num_places)


class Lazily(Sequence[T]):
    """A sequence of known length that is made when its first item is asked for."""

    __slots__ = ("_items", "_length", "_make")

    def __init__(self, length: int, make: Callable[[], Sequence[T]]) -> None:
        self._length = length
        self._make = make
        self._items: Sequence[T] | None = None

    def _made(self) -> Sequence[T]:
        if self._items is None:
            self._items = self._make()
        return self._items

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return iter(self._made())

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._made()[index]
