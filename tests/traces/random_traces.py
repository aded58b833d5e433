"""Small random traces for tests, and strategies that draw them."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from traces.format import Ids, Sequences, expert_id_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomTrace:
    """Sequences, and the experts of a bank that their ids come from."""

    sequences: Sequences
    num_experts: int

    @property
    def ids(self) -> Ids:
        return self.sequences.expert_ids

    @property
    def ranges(self) -> list[range]:
        """Return the tokens of each sequence."""
        start = self.sequences.sequence_start.tolist()
        return [range(one, other) for one, other in pairwise(start)]


def as_ids(values: NDArray[np.integer], num_experts: int) -> Ids:
    """Return ids in the dtype of the format."""
    return values.astype(np.uint8) if expert_id_dtype(num_experts) is np.uint8 else values.astype(np.uint16)


def uniform_ids(num_tokens: int, num_layers: int, top_k: int, num_experts: int, *, seed: int) -> Ids:
    """Return independent, uniform top-k sets, [T, L, K]."""
    score = np.random.default_rng(seed).random((num_tokens, num_layers, num_experts))
    return as_ids(np.argsort(score, axis=2)[..., :top_k], num_experts)


def skewed_ids(num_tokens: int, num_layers: int, top_k: int, num_experts: int, *, seed: int) -> Ids:
    """Return sets of which low ids are likelier, and which often repeat the token before, [T, L, K]."""
    rng = np.random.default_rng(seed)
    score = rng.gumbel(size=(num_tokens, num_layers, num_experts)) - 0.3 * np.arange(num_experts)
    ids = as_ids(np.argsort(-score, axis=2)[..., :top_k], num_experts)
    for token in range(1, num_tokens):
        repeat = rng.random(num_layers) < 0.3
        ids[token, repeat] = ids[token - 1, repeat]
    return ids


def make_trace(lengths: list[int], num_layers: int, top_k: int, num_experts: int, *, seed: int) -> RandomTrace:
    """Return a skewed trace of sequences of these lengths, with gate weights and lookahead over two distances."""
    num_tokens = sum(lengths)
    rng = np.random.default_rng(seed + 1)
    ids = skewed_ids(num_tokens, num_layers, top_k, num_experts, seed=seed)
    guesses = [uniform_ids(num_tokens, num_layers, top_k, num_experts, seed=seed + 2 + row) for row in range(2)]
    weights = -np.sort(-rng.random((num_tokens, num_layers, top_k)), axis=2)
    return RandomTrace(
        sequences=Sequences(
            expert_ids=ids,
            sequence_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            prompt_tokens=np.array([length // 2 for length in lengths], np.int32),
            gate_weights=weights.astype(np.float16),
            lookahead_ids=as_ids(np.stack(guesses, axis=2), num_experts),
        ),
        num_experts=num_experts,
    )


@st.composite
def traces(draw: st.DrawFn) -> RandomTrace:
    """Draw a trace of a few short sequences."""
    num_experts = draw(st.integers(1, 9))
    return make_trace(
        draw(st.lists(st.integers(1, 14), min_size=1, max_size=6)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, min(num_experts, 4))),
        num_experts,
        seed=draw(st.integers(0, 2**32 - 1)),
    )
