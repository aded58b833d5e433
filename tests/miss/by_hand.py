"""A view of tokens and a training, both written out by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulator.training import Training
from tests.hand_made import HandView, Routing
from traces.format import Sequences, TraceMetadata, open_trace, write_trace


class TokenView(HandView):
    """A view of one visit at a time: its tokens, their weights and what the next gate seems to pick, as a test sets them."""

    def __init__(
        self,
        *,
        num_layers: int = 1,
        num_experts: int = 8,
        top_k: int = 2,
        training: Training | None = None,
        shared_bank: bool = False,
    ) -> None:
        super().__init__(
            num_layers=num_layers, num_experts=num_experts, top_k=top_k, training=training, shared_bank=shared_bank
        )
        self.predicted: Sequence[Sequence[int]] = ()
        self.oracle.visit = 0

    def show(
        self, tokens: Sequence[Sequence[int]], weights: Sequence[Sequence[float]] | None = None, *, visit: int = 0
    ) -> None:
        """Set the visit, its picks and their weights (None: falling by rank)."""
        self.oracle.visit = visit
        self.tokens = tokens
        self.gate_weights = weights

    def lookahead(self, distance: int) -> Sequence[Sequence[int]]:
        """Return what the test has set for the next layer; empty past the last."""
        assert distance <= self.lookahead_layers, "asked without require_lookahead"
        return () if self.visit % self.num_layers + distance >= self.num_layers else self.predicted


def learn_from(path: Path, routing: Routing, *, num_experts: int, weights: object = None) -> Training:
    """Return a training of sequences [S][T][L][K]; `weights` alike in shape, by default halving from rank to rank."""
    ids = np.array([token for tokens in routing for token in tokens], np.uint16)
    if weights is None:
        weights = np.broadcast_to(2.0 ** -np.arange(1, ids.shape[2] + 1), ids.shape)
    lengths = [len(tokens) for tokens in routing]
    write_trace(
        path,
        Sequences(
            expert_ids=ids,
            gate_weights=np.asarray(weights, np.float16).reshape(ids.shape),
            sequence_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            prompt_tokens=np.zeros(len(lengths), np.int32),
        ),
        TraceMetadata(model="hand-made", num_experts=num_experts),
        overwrite=True,
    )
    return Training(open_trace(path), range(len(routing)))
