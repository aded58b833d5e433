"""What is left of a run's own routing is a trace that gives the run's steps again."""

import tempfile
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import Step
from tests.capture.families import EXPERTS, TOP_K, build
from tests.traces.random_traces import RandomTrace, traces
from traces.format import Sequences, Trace, TraceMetadata, open_trace, write_trace
from validation.replay.forward import StepRunner
from validation.replay.own_routing import RoutingLog, forced_ids, forced_routing, workload_trace
from validation.runtime.device import open_device
from validation.runtime.offload import offload

CPU = torch.device("cpu")


def opened(folder: Path, drawn: RandomTrace, banks: tuple[int, ...], context_start: list[int]) -> Trace:
    """Write a drawn trace with shared banks and unrecorded contexts."""
    tensors = drawn.sequences.tensors() | {"context_start": np.array(context_start, np.int32)}
    sequences = Sequences(**tensors)  # type: ignore[arg-type]
    write_trace(
        folder / "t.safetensors", sequences, TraceMetadata(model="drawn", num_experts=drawn.num_experts, banks=banks)
    )
    return open_trace(folder / "t.safetensors")


def tokens_of(step: Step, trace: Trace, done: dict[int, int]) -> list[int]:
    """Return the rows of the trace that are a step's tokens; `done` counts those of each request so far."""
    rows: list[int] = []
    for request in step.requests:
        count = len(step.tokens) if step.is_prefill else 1
        first = trace.sequence_tokens(request.sequence).start + done.get(request.index, 0)
        rows += range(first, first + count)
        done[request.index] = done.get(request.index, 0) + count
    return rows


@st.composite
def runs(draw: st.DrawFn) -> tuple[RandomTrace, tuple[int, ...], list[int], int, int | None, bool]:
    """Draw a trace, its banks and contexts, a batch, a chunk, and whether its log is of keys."""
    drawn = draw(traces())
    num_layers = drawn.ids.shape[1]
    banks = (0,) * num_layers if draw(st.booleans()) else ()
    count = len(drawn.ranges)
    contexts = draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    return drawn, banks, contexts, draw(st.integers(1, 4)), draw(st.none() | st.integers(1, 4)), draw(st.booleans())


@given(runs())
@settings(max_examples=40, deadline=None)
def test_the_log_of_a_loop_is_the_trace_that_drove_it(
    run: tuple[RandomTrace, tuple[int, ...], list[int], int, int | None, bool],
) -> None:
    """For every batch and chunk, with shared banks, contexts, gate weights and lookahead, as keys and as ids."""
    drawn, banks, contexts, batch, chunk, are_keys = run
    with tempfile.TemporaryDirectory() as folder:
        trace = opened(Path(folder), drawn, banks, contexts)
        before = trace.sequences()
        log = RoutingLog(
            num_layers=trace.num_layers, num_experts=trace.num_experts, top_k=trace.top_k, distances=2, banks=banks
        )
        offsets_L = np.array(trace.banks) * trace.num_experts
        ahead_LD = np.minimum(np.arange(trace.num_layers)[:, None] + [1, 2], trace.num_layers - 1)
        done: dict[int, int] = {}
        assert before.lookahead_ids is not None
        assert before.gate_weights is not None
        loop = ClosedLoop(trace=trace, sequences=range(trace.num_sequences), batch=batch, prefill_chunk_tokens=chunk)
        for step in loop.steps():
            rows = tokens_of(step, trace, done)
            lookahead = before.lookahead_ids[rows].astype(np.int64)
            if are_keys:
                lookahead = lookahead + offsets_L[ahead_LD][..., None]
            log.add(
                step,
                step.tokens if are_keys else before.expert_ids[rows],
                are_keys=are_keys,
                lookahead_NLDK=lookahead,
                weights_NLK=before.gate_weights[rows],
            )
        after = log.write(Path(folder) / "log.safetensors", model="m", gate="softmax", captured="here")
        assert after.banks == trace.banks
        found, expected = after.sequences().tensors(), before.tensors()
        if not any(contexts):
            del expected["context_start"]
        for index in range(2):  # beyond the last layer: a layer's own ids
            start = max(0, trace.num_layers - 1 - index)
            expected["lookahead_ids"][:, start:, index] = before.expert_ids[:, start:]
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert tensor.dtype == expected[name].dtype
            assert np.array_equal(tensor, expected[name]), name


@given(runs(), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_a_run_cut_short_gives_its_steps_again(
    run: tuple[RandomTrace, tuple[int, ...], list[int], int, int | None, bool], num_steps: int
) -> None:
    """The steps of the trace that is left begin with those of the run, contexts and prompts included."""
    drawn, banks, contexts, batch, chunk, _ = run
    with tempfile.TemporaryDirectory() as folder:
        trace = opened(Path(folder), drawn, banks, contexts)
        loop = ClosedLoop(trace=trace, sequences=range(trace.num_sequences), batch=batch, prefill_chunk_tokens=chunk)
        log = RoutingLog(num_layers=trace.num_layers, num_experts=trace.num_experts, top_k=trace.top_k, banks=banks)
        first = list(islice(loop.steps(), num_steps))
        for step in first:
            log.add(step, step.tokens, are_keys=True)
        left = log.write(Path(folder) / "log.safetensors", model="m", gate="softmax", captured="here")
        again = ClosedLoop(trace=left, sequences=range(left.num_sequences), batch=batch, prefill_chunk_tokens=chunk)
        for step, same in zip(first[:-1], again.steps(), strict=False):
            assert (step.is_prefill, step.tokens) == (same.is_prefill, same.tokens)
            assert list(step.contexts) == list(same.contexts)


@given(runs())
@settings(max_examples=20, deadline=None)
def test_forced_ids_are_the_traces_own(
    run: tuple[RandomTrace, tuple[int, ...], list[int], int, int | None, bool],
) -> None:
    drawn, banks, contexts, batch, chunk, _ = run
    with tempfile.TemporaryDirectory() as folder:
        trace = opened(Path(folder), drawn, banks, contexts)
        done: dict[int, int] = {}
        loop = ClosedLoop(trace=trace, sequences=range(trace.num_sequences), batch=batch, prefill_chunk_tokens=chunk)
        for step in loop.steps():
            expected = drawn.ids[tokens_of(step, trace, done)]
            routing_LNK = forced_routing(step, trace.num_experts, CPU)
            assert routing_LNK.dtype == torch.int64
            assert routing_LNK.is_contiguous()
            for layer in range(trace.num_layers):
                assert routing_LNK[layer].tolist() == expected[:, layer].tolist()
                assert forced_ids(step, layer, trace.num_experts) == expected[:, layer].tolist()


def test_the_routing_that_a_models_gates_chose_forces_the_same_run(tmp_path: Path) -> None:
    """Rows of a step are its tokens in order: the logged ids, forced on fresh steps of their trace, give the logits."""
    network = build("mixtral").to(torch.float64)
    stated = workload_trace(
        tmp_path / "stated",
        prompt_tokens=[5, 0, 3],
        output_tokens=[3, 4, 2],
        num_layers=3,
        num_experts=EXPERTS,
        top_k=TOP_K,
    )
    runner = StepRunner(network, CPU, batch=2, max_context=8, seed=0)
    logits: list[Tensor] = []
    with offload(network, open_device("cpu")) as offloaded:
        log = RoutingLog(num_layers=3, num_experts=EXPERTS, top_k=TOP_K)
        picked: list[Tensor] = []

        def own(layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
            picked.append(ids_NK)
            return offloaded.visit_from_host(layer, hidden_NH, ids_NK, weights_NK)

        offloaded.visit = own
        for step in ClosedLoop(trace=stated, sequences=range(3), batch=2, prefill_chunk_tokens=3).steps():
            picked.clear()
            logits.append(runner.logits(step))
            log.add(step, torch.stack(picked, dim=1).numpy(), are_keys=False)
        trace = log.write(tmp_path / "own", model="mixtral", gate="softmax_top_k", captured="here")
        assert len({tuple(row) for row in trace.expert_ids(0, trace.num_tokens).reshape(-1, TOP_K).tolist()}) > 10
        assert trace.prompt_tokens.tolist() == [5, 0, 3]
        runner.reset()
        forced: list[Tensor] = []

        def force(layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
            assert torch.equal(ids_NK, forced[0][layer])
            return offloaded.visit_from_host(layer, hidden_NH, forced[0][layer], weights_NK)

        offloaded.visit = force
        loop = ClosedLoop(trace=trace, sequences=range(3), batch=2, prefill_chunk_tokens=3)
        for step, expected in zip(loop.steps(), logits, strict=True):
            forced[:] = [forced_routing(step, EXPERTS, CPU)]
            assert torch.equal(runner.logits(step), expected)


def test_a_workload_of_stated_lengths_puts_out_what_was_stated(tmp_path: Path) -> None:
    prompts, outputs = [4, 0, 3], [3, 2, 1]
    trace = workload_trace(
        tmp_path / "t.safetensors",
        prompt_tokens=prompts,
        output_tokens=outputs,
        num_layers=2,
        num_experts=300,
        top_k=4,
        context_start=[0, 7, 0],
    )
    trace.check()
    assert trace.prompt_tokens.tolist() == prompts
    assert trace.context_start.tolist() == [0, 7, 0]
    counts = [0, 0, 0]
    for step in ClosedLoop(trace=trace, sequences=range(3), batch=2).steps():
        for request in step.emits:
            counts[request.sequence] += 1
    assert counts == outputs
    for prompt, output in ((-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="no fewer than"):
            workload_trace(
                tmp_path / "u", prompt_tokens=[prompt], output_tokens=[output], num_layers=1, num_experts=4, top_k=1
            )


def test_what_cannot_be_logged_is_refused(tmp_path: Path) -> None:
    """Another shape, keys of another bank, ids that are none, lookahead or weights now and then, nothing at all."""
    trace = workload_trace(
        tmp_path / "t.safetensors", prompt_tokens=[0], output_tokens=[3], num_layers=2, num_experts=4, top_k=1
    )
    step = next(ClosedLoop(trace=trace, sequences=[0], batch=1).steps())
    log = RoutingLog(num_layers=2, num_experts=4, top_k=1)
    with pytest.raises(ValueError, match="no step has been recorded"):
        log.sequences()
    with pytest.raises(ValueError, match=r"routing has the shape \(1, 1, 1\); it should be \(1, 2, 1\)"):
        log.add(step, [[[0]]], are_keys=True)
    with pytest.raises(ValueError, match="no keys of its layer's bank"):
        log.add(step, [[[4], [4]]], are_keys=True)
    with pytest.raises(ValueError, match="no ids"):
        log.add(step, [[[0], [4]]], are_keys=False)
    with pytest.raises(ValueError, match="lookahead of 0 distances"):
        log.add(step, [[[0], [4]]], are_keys=True, lookahead_NLDK=[[[[0]], [[0]]]])
    log.add(step, [[[0], [4]]], are_keys=True)
    with pytest.raises(ValueError, match="gate weights come with every step"):
        log.add(step, [[[0], [4]]], are_keys=True, weights_NLK=[[[1.0], [1.0]]])
