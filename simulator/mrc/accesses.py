"""What a run asks of a pool of slots: its events, each the distinct experts that one gate picks, in order.

An event stands for one visit to a layer, as the engine meets them: in closed loop, prompts as prefills of their own. A pool
is a bank of experts, or all banks together.

Legend: T tokens, L routing rounds, K top-k, E experts of a bank.

Limits: prompts are prefilled in one step each; other batching than `together` is left to the simulator.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import distinct_experts
from traces.format import Trace

_READ_TOKENS = 1 << 14

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """The events of one pool: event i asks for `keys[starts[i]:starts[i + 1]]`, numbers below `num_keys`."""

    keys: Ints
    starts: NDArray[np.int64]
    num_keys: int

    @property
    def num_events(self) -> int:
        """Visits."""
        return len(self.starts) - 1

    @property
    def largest_event(self) -> int:
        """Experts of the largest event; 0 where there is none."""
        return int(np.diff(self.starts).max(initial=0))


def bank_accesses(trace: Trace, sequences: Sequence[int], *, batch: int = 1) -> list[Accesses]:
    """Return what each bank is asked for, its experts numbered from 0. Raises TraceError at a row that is at fault."""
    rounds = [[layer for layer, of in enumerate(trace.banks) if of == bank] for bank in range(trace.num_banks)]
    pieces = list(_pieces(trace, sequences, batch))
    return [_joined([piece.of_layers(layers) for piece in pieces], trace.num_experts) for layers in rounds]


def global_accesses(trace: Trace, sequences: Sequence[int], *, batch: int = 1) -> Accesses:
    """Return what all banks are asked for together: keys are `bank * num_experts + expert`. Raises TraceError."""
    layers = list(range(trace.num_layers))
    first_key = (np.array(trace.banks, np.int32) * trace.num_experts).astype(np.int32)
    parts = [piece.of_layers(layers, first_key) for piece in _pieces(trace, sequences, batch)]
    return _joined(parts, trace.num_banks * trace.num_experts)


class _Decoding:
    """Steps of one token each: experts [n, L, K]."""

    def __init__(self, ids_nLK: NDArray[np.unsignedinteger]) -> None:
        self.ids_nLK = ids_nLK

    def of_layers(self, layers: Sequence[int], first_key: Ints | None = None) -> tuple[Ints, Ints]:
        """Return the keys of the layers' visits, in order, and the size of each visit."""
        ids = self.ids_nLK[:, list(layers)].astype(np.int32)
        if first_key is not None:
            ids += first_key[list(layers), None]
        return ids.reshape(-1), np.full(ids.shape[0] * ids.shape[1], ids.shape[2], np.int32)


class _Merged:
    """One step of several tokens: per layer its distinct experts, in order of first appearance."""

    def __init__(self, of_layer: Sequence[Ints]) -> None:
        self.of_layer = of_layer

    def of_layers(self, layers: Sequence[int], first_key: Ints | None = None) -> tuple[Ints, Ints]:
        """Return the keys of the layers' visits, in order, and the size of each visit."""
        parts = [
            self.of_layer[layer] if first_key is None else self.of_layer[layer] + first_key[layer] for layer in layers
        ]
        return np.concatenate(parts), np.array([len(part) for part in parts], np.int32)


def _pieces(trace: Trace, sequences: Sequence[int], batch: int) -> Iterator[_Decoding | _Merged]:
    """Yield the steps of the closed loop; runs of steps of one token in one piece."""
    if batch > 1:
        yield from _batched(trace, sequences, batch)
        return
    for sequence in sequences:
        tokens = trace.sequence_tokens(sequence)
        prompt_stop = tokens.start + int(trace.prompt_tokens[sequence])
        if prompt_stop > tokens.start:
            yield _merged(trace.expert_ids(tokens.start, prompt_stop))
        for start in range(prompt_stop, tokens.stop, _READ_TOKENS):
            yield _Decoding(trace.expert_ids(start, min(start + _READ_TOKENS, tokens.stop)))


def _batched(trace: Trace, sequences: Sequence[int], batch: int) -> Iterator[_Merged]:
    """Yield the steps of several sequences at a time, as the simulator makes them."""
    first_key = np.array(trace.banks, np.int32) * trace.num_experts
    for step in ClosedLoop(trace=trace, sequences=sequences, batch=batch).steps():
        keys = [np.array(distinct_experts(step.tokens, layer)[0], np.int32) for layer in range(trace.num_layers)]
        yield _Merged([of_layer - first for of_layer, first in zip(keys, first_key, strict=True)])


def _merged(ids_nLK: NDArray[np.unsignedinteger]) -> _Merged:
    of_layer = []
    for layer in range(ids_nLK.shape[1]):
        ids, first = np.unique(ids_nLK[:, layer].ravel(), return_index=True)
        of_layer.append(ids[np.argsort(first)].astype(np.int32))
    return _Merged(of_layer)


def _joined(parts: Sequence[tuple[Ints, Ints]], num_keys: int) -> Accesses:
    sizes = np.concatenate([sizes for _, sizes in parts]) if parts else np.empty(0, np.int32)
    return Accesses(
        keys=np.concatenate([keys for keys, _ in parts]) if parts else np.empty(0, np.int32),
        starts=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
        num_keys=num_keys,
    )
