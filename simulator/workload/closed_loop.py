"""A closed loop: a batch of fixed size in which every sequence that ends is replaced by the next.

The first B sequences start together. A sequence with recorded prompt tokens runs them first, as prefill steps of its own
(one, or one per chunk), first come first served, while the others wait; then all decode, one token each per round. A
round is one step, or several where batching divides the sequences into groups; sequences are replaced when it is over. A
prefill puts out the first output token, each decode step one more. The steps depend on the trace alone, never on time.

Limits: no arrivals, no queue, no mixing of prefill and decode in one step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from simulator.batching.protocol import Batching
from simulator.batching.together import Together
from simulator.workload.request import Request
from simulator.workload.step import Step, TokenLookahead, TokenRouting, TokenWeights
from traces.format import Trace

_ROWS_PER_READ = 64
_TOGETHER = Together()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """The workload: `batch` sequences at a time, drawn from `sequences` of the trace in order.

    `max_tokens` ends the run with the step that brings the output tokens to that number; None means no bound.
    `prefill_chunk_tokens` bounds the tokens of a prefill step. `batching` divides the sequences that decode into steps.
    """

    trace: Trace
    sequences: Sequence[int]
    batch: int
    prefill_chunk_tokens: int | None = None
    max_tokens: int | None = None
    batching: Batching = _TOGETHER

    def steps(self, *, lookahead_layers: int = 0, gate_weights: bool = False) -> Iterator[Step]:
        """Yield the steps of a fresh run, with fresh requests.

        With `lookahead_layers`, each has what the trace recorded of gates so many layers on; with `gate_weights`, those.
        Raises ValueError if the groups of a round are not its sequences, each once.
        """
        trace = self.trace
        waiting = iter(self.sequences)
        num_started = min(self.batch, len(self.sequences))
        slots: list[_Slot | None] = [
            self._next(waiting, index, lookahead_layers, gate_weights) for index in range(num_started)
        ]
        joins = [slot.request for slot in slots if slot is not None]
        tokens_left = self.max_tokens if self.max_tokens is not None else trace.num_tokens * 2 + 1
        while tokens_left > 0:
            active = [slot for slot in slots if slot is not None]
            if not active:
                return
            prompted = [slot for slot in active if slot.position < slot.request.prompt_tokens]
            prefilling = min(prompted, key=lambda slot: slot.request.index, default=None)
            for step in (
                self._decode_round(active, joins)
                if prefilling is None
                else [prefilling.prefill(self.prefill_chunk_tokens, joins)]
            ):
                tokens_left -= len(step.emits)
                yield step
                if tokens_left <= 0:
                    return
            joins = []
            for place, slot in enumerate(slots):
                if slot is not None and slot.is_finished():
                    slots[place] = joining = self._next(waiting, num_started, lookahead_layers, gate_weights)
                    if joining is not None:
                        num_started += 1
                        joins.append(joining.request)

    def _decode_round(self, active: Sequence["_Slot"], joins: Sequence[Request]) -> Iterator[Step]:
        """Yield one step for each group; those who joined do so in the first."""
        tokens = [next(slot.rows) for slot in active]
        contexts = [slot.context_start + slot.position + 1 for slot in active]
        groups = self.batching.groups(tokens, contexts)
        if sorted(chain.from_iterable(groups)) != list(range(len(active))) or not all(groups):
            raise ValueError(
                f"batching: {type(self.batching).__name__} made the groups {[list(group) for group in groups]} of "
                f"{len(active)} sequences; each should be in one of them, and no group empty"
            )
        for group in groups:
            yield _decode(
                [active[index] for index in group],
                [tokens[index] for index in group],
                [contexts[index] for index in group],
                joins,
            )
            joins = ()

    def _next(self, waiting: Iterator[int], index: int, lookahead_layers: int, gate_weights: bool) -> "_Slot | None":
        sequence = next(waiting, None)
        return _Slot(self.trace, index, sequence, lookahead_layers, gate_weights) if sequence is not None else None


class _Slot:
    """A place in the batch: a request, how far it is, and its routing, read in blocks."""

    def __init__(self, trace: Trace, index: int, sequence: int, lookahead_layers: int, gate_weights: bool) -> None:
        tokens = trace.sequence_tokens(sequence)
        self.request = Request(
            index=index,
            sequence=sequence,
            prompt_tokens=int(trace.prompt_tokens[sequence]),
            total_tokens=len(tokens),
        )
        self.position = 0
        self.context_start = int(trace.context_start[sequence])
        self.rows = token_routing(trace, tokens)
        self.weights = token_weights(trace, tokens) if gate_weights else None
        self.lookahead = token_lookahead(trace, tokens, lookahead_layers) if lookahead_layers else None

    def is_finished(self) -> bool:
        """Tell whether the sequence has no tokens left."""
        return self.position == self.request.total_tokens

    def prefill(self, chunk_tokens: int | None, joins: Sequence[Request]) -> Step:
        """Return the next prefill step."""
        request = self.request
        left = request.prompt_tokens - self.position
        num_tokens = left if chunk_tokens is None else min(chunk_tokens, left)
        first = self.context_start + self.position + 1
        self.position += num_tokens
        return Step(
            is_prefill=True,
            tokens=[next(self.rows) for _ in range(num_tokens)],
            contexts=range(first, first + num_tokens),
            requests=[request],
            emits=[request] if self.position == request.prompt_tokens else [],
            joins=joins,
            ends=[request] if self.is_finished() else [],
            weights=[next(self.weights) for _ in range(num_tokens)] if self.weights is not None else None,
            lookahead=[next(self.lookahead) for _ in range(num_tokens)] if self.lookahead is not None else None,
        )


def _decode(
    active: Sequence[_Slot], tokens: Sequence[TokenRouting], contexts: Sequence[int], joins: Sequence[Request]
) -> Step:
    for slot in active:
        slot.position += 1
    requests = [slot.request for slot in active]
    return Step(
        is_prefill=False,
        tokens=tokens,
        contexts=contexts,
        requests=requests,
        emits=requests,
        joins=joins,
        ends=[slot.request for slot in active if slot.is_finished()],
        weights=None if active[0].weights is None else [next(slot.weights) for slot in active if slot.weights],
        lookahead=None if active[0].lookahead is None else [next(slot.lookahead) for slot in active if slot.lookahead],
    )


def token_routing(trace: Trace, tokens: range) -> Iterator[TokenRouting]:
    """Yield the expert keys of each token, checked. Raises TraceError at a row that is at fault."""
    first_key = (np.array(trace.banks, dtype=np.int32) * trace.num_experts)[None, :, None]
    for start in range(tokens.start, tokens.stop, _ROWS_PER_READ):
        stop = min(start + _ROWS_PER_READ, tokens.stop)
        ids = trace.expert_ids(start, stop)
        if trace.has_gate_weights:
            trace.gate_weights(start, stop)  # for its check: a run refuses what a policy might read
        yield from (ids.astype(np.int32) + first_key).tolist()


def token_weights(trace: Trace, tokens: range) -> Iterator[TokenWeights]:
    """Yield the gate weights of each token, checked. Raises TraceError at a row that is at fault."""
    for start in range(tokens.start, tokens.stop, _ROWS_PER_READ):
        yield from trace.gate_weights(start, min(start + _ROWS_PER_READ, tokens.stop)).astype(float).tolist()


def token_lookahead(trace: Trace, tokens: range, lookahead_layers: int) -> Iterator[TokenLookahead]:
    """Yield what gates up to `lookahead_layers` on would pick for each token, as keys, checked.

    The picks of gates past the last layer are there, and mean nothing. Raises TraceError at a row that is at fault.
    """
    num_layers = trace.num_layers
    banks = np.array(trace.banks, dtype=np.int32)
    gate = np.minimum(np.arange(num_layers)[:, None] + np.arange(1, lookahead_layers + 1), num_layers - 1)
    first_key = (banks[gate] * trace.num_experts)[None, :, :, None]
    for start in range(tokens.start, tokens.stop, _ROWS_PER_READ):
        ids = trace.lookahead_ids(start, min(start + _ROWS_PER_READ, tokens.stop))[:, :, :lookahead_layers]
        yield from (ids.astype(np.int32) + first_key).tolist()
