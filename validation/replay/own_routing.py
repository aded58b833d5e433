"""A run with the model's own routing: the steps to drive it, the trace that is left of it. And the inverse, a trace's
routing forced on a run.

Legend: N tokens of a step, L routing rounds, K top-k, D lookahead distances, T tokens of a request, E experts of a bank.

A closed loop takes the lengths of its sequences from a trace; for a run that is yet to be recorded, `workload_trace`
writes one of the stated lengths whose ids mean nothing. It is a file, not an object that looks like a trace, so that
whatever takes a trace (the loop, a digest, a check) takes it too.

Limits: a request that was cut short by the run's end is a sequence as long as what was recorded of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from simulator.workload.request import Request
from simulator.workload.step import Step
from traces.format import Ids, Sequences, Trace, TraceMetadata, expert_id_dtype, open_trace, write_trace

Ints = NDArray[np.int64]


def forced_ids(step: Step, layer: int, num_experts: int) -> list[list[int]]:
    """Return the expert ids [N][K] that a step's tokens are routed to by a layer."""
    return [[key % num_experts for key in token[layer]] for token in step.tokens]


def forced_routing(step: Step, num_experts: int, torch_device: torch.device) -> Tensor:
    """Return the expert ids of all layers, int64 [L, N, K] on the device: one conversion and one transfer a step."""
    num_tokens, num_layers = len(step.tokens), len(step.tokens[0])
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(step.tokens)), np.int64)
    ids_NLK = (flat % num_experts).reshape(num_tokens, num_layers, -1)
    return torch.from_numpy(np.ascontiguousarray(ids_NLK.swapaxes(0, 1))).to(torch_device)


@dataclass(slots=True, kw_only=True)
class _Recorded:
    """What has been recorded of a request: by step, arrays of the tokens that it had in it."""

    request: Request
    context_start: int
    ids: list[Ints] = field(default_factory=list)
    lookahead: list[Ints] = field(default_factory=list)
    weights: list[NDArray[np.float16]] = field(default_factory=list)


class RoutingLog:
    """Gather what the gates of a run picked, step by step; `sequences` and `write` make a trace of it.

    Simulating the trace's sequences in order, with the batch and chunk of the run, gives the run's steps again.
    """

    def __init__(
        self, *, num_layers: int, num_experts: int, top_k: int, distances: int = 0, banks: tuple[int, ...] = ()
    ) -> None:
        """Begin an empty log. `distances` is D, 0 if there is no lookahead; `banks` as in a trace's metadata."""
        self.num_layers = num_layers
        self.num_experts = num_experts
        self.top_k = top_k
        self.distances = distances
        self.banks = banks
        self._offsets_L = np.array(banks or range(num_layers), np.int64) * num_experts
        self._recorded: dict[int, _Recorded] = {}
        self._has_weights: bool | None = None

    def add(
        self,
        step: Step,
        routing_NLK: ArrayLike,
        *,
        are_keys: bool,
        lookahead_NLDK: ArrayLike | None = None,
        weights_NLK: ArrayLike | None = None,
    ) -> None:
        """Note a step's routing, as keys or as ids of each bank; the lookahead is in the same form.

        Ranks stay in the order in which they are given: the order of first appearance, in which experts are fetched,
        follows from it. Lookahead beyond the last layer may hold anything. Raises ValueError for an array of another
        shape, for a step that brings lookahead or weights where others did not, and for keys of another layer's bank.
        """
        shape = (len(step.tokens), self.num_layers, self.top_k)
        routing = np.asarray(routing_NLK, np.int64)
        _check_shape(routing, shape, "routing")
        ids_NLK = self._ids(routing, self._offsets_L[:, None], are_keys=are_keys)
        if (lookahead_NLDK is not None) != bool(self.distances):
            raise ValueError(f"lookahead of {self.distances} distances was announced; every step brings it, or none")
        lookahead = None
        if lookahead_NLDK is not None:
            given = np.asarray(lookahead_NLDK, np.int64)
            _check_shape(given, (*shape[:2], self.distances, self.top_k), "lookahead")
            lookahead = self._lookahead_ids(given, ids_NLK, are_keys=are_keys)
        if self._has_weights not in (None, weights_NLK is not None):
            raise ValueError("gate weights come with every step, or with none")
        self._has_weights = weights_NLK is not None
        weights = None
        if weights_NLK is not None:
            weights = np.asarray(weights_NLK, np.float16)
            _check_shape(weights, shape, "weights")
        for request, rows, context in _requests_of(step):
            recorded = self._recorded.setdefault(request.index, _Recorded(request=request, context_start=context - 1))
            recorded.ids.append(ids_NLK[rows])
            if lookahead is not None:
                recorded.lookahead.append(lookahead[rows])
            if weights is not None:
                recorded.weights.append(weights[rows])

    def sequences(self) -> Sequences:
        """Return what was recorded, a sequence for each request in the order in which they joined.

        Raises ValueError if that is nothing.
        """
        if not self._recorded:
            raise ValueError("no step has been recorded")
        requests = [self._recorded[index] for index in sorted(self._recorded)]
        lengths = [sum(map(len, one.ids)) for one in requests]
        context_start = np.array([one.context_start for one in requests], np.int32)
        return Sequences(
            expert_ids=_in_format([part for one in requests for part in one.ids], self.num_experts),
            sequence_start=np.cumsum([0, *lengths], dtype=np.int64),
            prompt_tokens=np.array(
                [min(one.request.prompt_tokens, length) for one, length in zip(requests, lengths, strict=True)],
                np.int32,
            ),
            gate_weights=np.concatenate([part for one in requests for part in one.weights])
            if self._has_weights
            else None,
            context_start=context_start if context_start.any() else None,
            lookahead_ids=_in_format([part for one in requests for part in one.lookahead], self.num_experts)
            if self.distances
            else None,
        )

    def write(self, path: Path, *, model: str, gate: str, captured: str, overwrite: bool = False) -> Trace:
        """Write the trace and open it. Raises TraceError, ValueError if nothing was recorded."""
        metadata = TraceMetadata(
            model=model,
            num_experts=self.num_experts,
            banks=self.banks,
            gate=gate,
            captured=captured,
            source="token ids drawn at random: the routing of this model, of no text",
        )
        write_trace(path, self.sequences(), metadata, overwrite=overwrite)
        return open_trace(path)

    def _ids(self, routing: Ints, offsets: Ints, *, are_keys: bool) -> Ints:
        """Return ids of their bank, checked; `offsets` are the first keys of the banks."""
        ids: Ints = routing - offsets if are_keys else routing
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_experts):
            form = "keys of its layer's bank" if are_keys else "ids"
            raise ValueError(f"routing holds what are no {form}, with {self.num_experts} experts in a bank")
        return ids

    def _lookahead_ids(self, lookahead_NLDK: Ints, ids_NLK: Ints, *, are_keys: bool) -> Ints:
        """Return the lookahead as ids, a layer's own ids where it looks beyond the last layer, as capture does."""
        result = np.broadcast_to(ids_NLK[:, :, None], lookahead_NLDK.shape).copy()
        for index in range(min(self.distances, self.num_layers - 1)):
            known = lookahead_NLDK[:, : self.num_layers - 1 - index, index]
            result[:, : self.num_layers - 1 - index, index] = self._ids(
                known, self._offsets_L[1 + index :, None], are_keys=are_keys
            )
        return result


def workload_trace(
    path: Path,
    *,
    prompt_tokens: Sequence[int],
    output_tokens: Sequence[int],
    num_layers: int,
    num_experts: int,
    top_k: int,
    banks: tuple[int, ...] = (),
    context_start: Sequence[int] | None = None,
) -> Trace:
    """Write and open a trace of sequences of the stated lengths, one or more output tokens each; its ids mean nothing.

    The first output token comes from the prompt's last, so a sequence with a prompt has one token fewer to decode.
    Raises TraceError, ValueError for lengths that cannot be.
    """
    if any(prompt < 0 for prompt in prompt_tokens) or any(output < 1 for output in output_tokens):
        raise ValueError("a sequence has no fewer than 0 prompt tokens and 1 output token")
    lengths = [prompt + output - (prompt > 0) for prompt, output in zip(prompt_tokens, output_tokens, strict=True)]
    ids_K = np.arange(top_k)
    write_trace(
        path,
        Sequences(
            expert_ids=_in_format([np.broadcast_to(ids_K, (sum(lengths), num_layers, top_k))], num_experts),
            sequence_start=np.cumsum([0, *lengths], dtype=np.int64),
            prompt_tokens=np.array(prompt_tokens, np.int32),
            context_start=None if context_start is None else np.array(context_start, np.int32),
        ),
        TraceMetadata(
            model="unknown",
            num_experts=num_experts,
            banks=banks,
            source="placeholder: lengths alone, the ids mean nothing",
        ),
    )
    return open_trace(path)


def _requests_of(step: Step) -> list[tuple[Request, slice, int]]:
    """Return a step's requests, the rows of their tokens and the context of the first of these."""
    if step.is_prefill:
        return [(step.requests[0], slice(0, len(step.tokens)), int(step.contexts[0]))]
    return [
        (request, slice(at, at + 1), int(context))
        for at, (request, context) in enumerate(zip(step.requests, step.contexts, strict=True))
    ]


def _check_shape(array: NDArray[np.generic], shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has the shape {array.shape}; it should be {shape}")


def _in_format(parts: Sequence[Ints], num_experts: int) -> Ids:
    """Join ids, in the dtype of the format."""
    joined = np.concatenate(parts)
    return joined.astype(np.uint8) if expert_id_dtype(num_experts) is np.uint8 else joined.astype(np.uint16)
