"""Training routing that tests write out or draw."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulator.training import Training
from tests.hand_made import Routing, random_routing
from traces.format import Sequences, TraceMetadata, open_trace, write_trace


def recorded(
    folder: Path,
    sequences: Routing,
    *,
    num_experts: int,
    weights: Sequence[float] | None = None,
    banks: tuple[int, ...] = (),
) -> Training:
    """Write `sequences`, each [tokens][layers][top_k] of expert numbers, with the same gate `weights` [top_k] for all."""
    lengths = [len(tokens) for tokens in sequences]
    expert_ids = np.array([token for tokens in sequences for token in tokens], np.uint16)
    gate_weights = np.broadcast_to(np.array(weights or [1.0], np.float16), expert_ids.shape).copy()
    path = folder / "training.safetensors"
    write_trace(
        path,
        Sequences(
            expert_ids=expert_ids,
            sequence_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            prompt_tokens=np.zeros(len(lengths), np.int32),
            gate_weights=gate_weights,
        ),
        TraceMetadata(model="hand-made", num_experts=num_experts, banks=banks),
        overwrite=True,
    )
    return Training(open_trace(path), range(len(lengths)))


def drawn(
    folder: Path, *, seed: int = 0, num_layers: int = 3, num_experts: int = 9, shared_bank: bool = True
) -> Training:
    """Draw six sequences of three to eight tokens, top 2."""
    routing = random_routing(seed, lengths=[3, 5, 8, 4, 6, 7], num_layers=num_layers, num_experts=num_experts, top_k=2)
    banks = (0,) * num_layers if shared_bank else ()
    return recorded(folder, routing, num_experts=num_experts, weights=[0.75, 0.25], banks=banks)
