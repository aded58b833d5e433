"""The front of a trace in memory, as the statistics want it."""

import numpy as np

from traces.format import Sequences, Trace


def front(trace: Trace, num_tokens: int | None = None, *, ids_only: bool = False) -> Sequences:
    """Return the first `num_tokens` tokens of a trace, all if None; the sequence that is cut keeps its first part.

    Token ids are left out, with `ids_only` gate weights and lookahead too. Raises TraceError at a fault of the content.
    """
    stop = trace.num_tokens if num_tokens is None else min(num_tokens, trace.num_tokens)
    starts = trace.sequence_start[:-1][trace.sequence_start[:-1] < stop]
    start = np.append(starts, stop).astype(np.int64)
    kept = len(starts)
    return Sequences(
        expert_ids=trace.expert_ids(0, stop),
        sequence_start=start,
        prompt_tokens=np.minimum(trace.prompt_tokens[:kept], np.diff(start)).astype(np.int32),
        gate_weights=trace.gate_weights(0, stop) if trace.has_gate_weights and not ids_only else None,
        context_start=trace.context_start[:kept],
        lookahead_ids=trace.lookahead_ids(0, stop) if trace.lookahead_distances and not ids_only else None,
    )
