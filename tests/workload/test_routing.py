"""Tokens anywhere in a trace, and contexts of steps, agree with their plain definitions."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.model.footprint import attended_tokens
from simulator.model.load import load_model
from simulator.workload.closed_loop import token_lookahead, token_routing, token_weights
from simulator.workload.contexts import Contexts, attended, attended_in_chunk
from simulator.workload.routing import Routing
from simulator.workload.step import distinct_experts
from tests.traces.make import random_ids
from traces.format import Sequences, Trace, TraceMetadata, open_trace, write_trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Return a trace of three rounds over two banks, with weights and lookahead."""
    rng = np.random.default_rng(3)
    ids = random_ids(rng, num_tokens=40, num_layers=3, num_experts=6, top_k=2)
    picks = [random_ids(rng, num_tokens=40, num_layers=3, num_experts=6, top_k=2) for _ in range(2)]
    ahead = np.stack(picks, axis=2).astype(np.uint8)
    path: Path = tmp_path_factory.mktemp("routing") / "trace.safetensors"
    write_trace(
        path,
        Sequences(
            expert_ids=ids,
            sequence_start=np.array([0, 40], np.int64),
            prompt_tokens=np.zeros(1, np.int32),
            gate_weights=rng.random(ids.shape).astype(np.float16),
            lookahead_ids=ahead,
        ),
        TraceMetadata(model="test", num_experts=6, banks=(0, 1, 0)),
    )
    return open_trace(path)


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 60])
def test_tokens_are_those_of_the_trace(num_tokens: int, trace: Trace) -> None:
    """Keys, weights, lookahead, and distinct experts in order of first appearance, for any tokens in any order."""
    rows = np.random.default_rng(num_tokens).integers(0, 40, num_tokens)
    routing = Routing(trace)
    plain = list(token_routing(trace, range(40)))
    tokens = [plain[row] for row in rows]
    assert list(routing.tokens(rows)) == tokens
    assert len(routing.tokens(rows)) == num_tokens
    weights = list(token_weights(trace, range(40)))
    assert list(routing.weights(rows)) == [weights[row] for row in rows]
    ahead = list(token_lookahead(trace, range(40), 2))
    assert list(routing.lookahead(rows, 2)) == [ahead[row] for row in rows]
    visits = routing.visits(rows)
    for layer in range(3):
        assert visits.of_layer(layer) == distinct_experts(tokens, layer)
        expected = [sum(token.count(key) for token in [[k % 6 for k in t[layer]] for t in tokens]) for key in range(6)]
        assert visits.counts()[layer * 6 : layer * 6 + 6].tolist() == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(["gpt-oss-20b", "llama-4-maverick", "qwen3.5-35b-a3b"]),
    st.integers(0, 3),
    st.lists(st.integers(1, 400), max_size=4),
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=3),
)
def test_attended_tokens_add_up(name: str, layer: int, decodes: list[int], chunks: list[tuple[int, int]]) -> None:
    """Sums over decodes and chunks are those token by token; a chunk's keys are read once, for its last."""
    model = load_model(name)
    ranges = [range(start, start + length) for start, length in chunks]
    contexts = Contexts(decodes, ranges)
    each = [attended_tokens(model, layer, context) for context in contexts]
    assert len(each) == len(contexts)
    read = sum(each[: len(decodes)]) + sum(attended_tokens(model, layer, chunk[-1]) for chunk in ranges)
    assert attended(model, layer, contexts) == (sum(each), read)
    for chunk in ranges:
        assert attended_in_chunk(model, layer, chunk) == sum(attended_tokens(model, layer, one) for one in chunk)
