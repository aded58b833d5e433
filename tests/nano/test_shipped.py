"""The files that ship: they open, agree with each other, and hold what the model card says."""

import subprocess
import sys

import numpy as np
import pytest

from traces.format import Trace, open_trace
from traces.nano import MODEL, TRACE

NUM_LAYERS, NUM_EXPERTS, TOP_K, LOOKAHEAD = 8, 32, 2, 3


@pytest.fixture(scope="module")
def trace() -> Trace:
    """Return the shipped trace."""
    return open_trace(TRACE)


def test_the_trace_is_whole(trace: Trace) -> None:
    """Every row passes the reader's checks."""
    trace.check()
    trace.require_model(num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=TOP_K, model="moesim-nano")
    assert trace.lookahead_distances == LOOKAHEAD
    assert trace.has_gate_weights
    assert trace.sequences().expert_ids.dtype == np.uint8


def test_the_trace_has_many_kinds_of_text(trace: Trace) -> None:
    """At least 50,000 tokens, and every category has its part of them, as prefill and as decode."""
    assert trace.num_tokens >= 50_000
    assert trace.sequence_category is not None
    lengths = np.diff(trace.sequence_start)
    assert len(trace.metadata.categories) >= 8
    for number in range(len(trace.metadata.categories)):
        of_kind = trace.sequence_category == number
        assert lengths[of_kind].sum() > 0.8 * trace.num_tokens / len(trace.metadata.categories)
    assert (trace.prompt_tokens >= 32).all()
    assert (trace.prompt_tokens <= 128).all()
    assert (lengths > trace.prompt_tokens).mean() > 0.95


def test_the_trace_does_not_reveal_its_text(trace: Trace) -> None:
    """It holds no token ids."""
    assert trace.sequences().token_ids is None


def test_the_trace_says_where_it_comes_from(trace: Trace) -> None:
    """Model, device, source and licence are named."""
    metadata = trace.metadata
    assert metadata.model == "moesim-nano"
    assert "unknown" not in (metadata.gate, metadata.captured, metadata.source, metadata.licence)
    assert metadata.extra["trained"]
    assert metadata.extra["recorded_on"]


def test_no_expert_is_idle(trace: Trace) -> None:
    """Every expert of every layer is picked for at least a tenth of its even share of the tokens."""
    ids_TLK = trace.expert_ids(0, trace.num_tokens)
    for layer in range(NUM_LAYERS):
        counts = np.bincount(ids_TLK[:, layer].ravel(), minlength=NUM_EXPERTS)
        assert counts.min() > 0.1 * counts.mean()


def test_lookahead_sees_more_than_chance(trace: Trace) -> None:
    """The next layer's gate, asked one layer early, names far more of its picks than chance would: 2 of 32."""
    ids_TLK = trace.expert_ids(0, trace.num_tokens)
    foreseen_TLDK = trace.lookahead_ids(0, trace.num_tokens)
    recalled = [
        (foreseen_TLDK[:, layer, 0, :, None] == ids_TLK[:, layer + 1, None, :]).any(-1).mean()
        for layer in range(NUM_LAYERS - 1)
    ]
    assert min(recalled) > 2 * TOP_K / NUM_EXPERTS


def test_kinds_of_text_use_different_experts(trace: Trace) -> None:
    """Two kinds of text differ more in their load than two halves of one kind do."""
    assert trace.sequence_category is not None
    ids_TLK = trace.expert_ids(0, trace.num_tokens)
    category_T = np.repeat(trace.sequence_category, np.diff(trace.sequence_start))
    sequence_T = np.repeat(np.arange(trace.num_sequences), np.diff(trace.sequence_start))

    def load(chosen_T: "np.typing.NDArray[np.bool_]") -> "np.typing.NDArray[np.float64]":
        counts = np.stack([np.bincount(one.ravel(), minlength=NUM_EXPERTS) for one in ids_TLK[chosen_T].swapaxes(0, 1)])
        return np.asarray(counts / counts.sum(1, keepdims=True), np.float64)

    first, second = (trace.metadata.categories.index(name) for name in ("dictionary", "python-source"))
    across = np.abs(load(category_T == first) - load(category_T == second)).sum()
    halves = [load((category_T == first) & (sequence_T % 2 == parity)) for parity in (0, 1)]
    assert across > 1.5 * np.abs(halves[0] - halves[1]).sum()


def test_files_are_small() -> None:
    """Weights come in shards below 4 MB; the trace stays below 8 MB."""
    assert max(path.stat().st_size for path in MODEL.iterdir()) < 4_000_000
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 12_000_000
    assert TRACE.stat().st_size < 8_000_000


def test_opening_the_trace_needs_no_torch() -> None:
    """A study on a machine without torch can use the recording."""
    program = (
        "import sys; from traces.nano import TRACE; from traces.format import open_trace; open_trace(TRACE).check(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
