"""Synthetic routing for benchmarks: popular experts, and neighbours that choose alike."""

from pathlib import Path

import numpy as np

from traces.format import Sequences, TraceMetadata, write_trace

_DRAWN_TOKENS = 1000


def sticky_zipf(
    path: Path,
    *,
    num_tokens: int,
    sequence_tokens: int,
    num_layers: int,
    num_experts: int,
    top_k: int,
    seed: int,
    stay_frac: float = 0.4,
) -> None:
    """Write a trace of sequences of equal length, decode only.

    In each layer the experts' popularity follows Zipf's law in an order of the layer's own; a token draws top-k of them
    without replacement (Gumbel's trick), or, with probability `stay_frac`, takes over the choice of the token before it.
    """
    rng = np.random.default_rng(seed)
    log_weights_le = -np.log(rng.permuted(np.tile(np.arange(1.0, num_experts + 1), (num_layers, 1)), axis=1))
    ids_tlk = np.empty((num_tokens, num_layers, top_k), np.uint8)
    for start in range(0, num_tokens, _DRAWN_TOKENS):
        stop = min(start + _DRAWN_TOKENS, num_tokens)
        noise = rng.gumbel(size=(stop - start, num_layers, num_experts))
        ids_tlk[start:stop] = np.argsort(-(noise + log_weights_le), axis=-1)[..., :top_k]
    stays_tl = rng.random((num_tokens, num_layers)) < stay_frac
    stays_tl[::sequence_tokens] = False
    drawn_at_tl = np.where(stays_tl, 0, np.arange(num_tokens)[:, None])
    drawn_at_tl = np.maximum.accumulate(drawn_at_tl, axis=0)
    num_sequences = num_tokens // sequence_tokens
    write_trace(
        path,
        Sequences(
            expert_ids=ids_tlk[drawn_at_tl, np.arange(num_layers)],
            sequence_start=np.arange(num_sequences + 1, dtype=np.int64) * sequence_tokens,
            prompt_tokens=np.zeros(num_sequences, np.int32),
        ),
        TraceMetadata(model="synthetic", num_experts=num_experts),
    )
