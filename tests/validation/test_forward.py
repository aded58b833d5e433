"""A step's logits are those of each sequence run alone, by transformers itself."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from hardware_profiles.errors import InputError
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.request import Request
from simulator.workload.step import Step
from tests.capture.families import VOCABULARY, build
from tests.hand_made import make_trace
from traces.format import Trace
from validation.replay.forward import StepRunner
from validation.replay.tokens import draw_tokens

CPU = torch.device("cpu")
SEED = 7
FULL_ATTENTION = ["qwen3_moe", "mixtral", "qwen2_moe", "olmoe", "granitemoe", "glm4_moe", "phimoe"]
OTHERS = {
    "gpt_oss": "sliding_attention",
    "qwen3_next": "linear_attention",
    "deepseek_v2": "multi-head latent attention",
    "deepseek_v3": "multi-head latent attention",
    "llama4": "chunked_attention",
    "minimax": "linear_attention",
}


def model(family: str, attention: str = "sdpa") -> PreTrainedModel:
    """Build a tiny model in float64, with experts computed one by one."""
    network = build(family).to(torch.float64)
    network.set_attn_implementation(attention)
    network.set_experts_implementation("eager")
    return network


def random_trace(folder: Path, seed: int, *, num_sequences: int = 6, context: bool = False) -> Trace:
    """Write a trace of short sequences of random lengths, about half of them with a prompt."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, num_sequences).tolist()
    return make_trace(
        folder / "t.safetensors",
        [[[[0]] for _ in range(length)] for length in lengths],
        num_experts=1,
        prompt_tokens=[int(rng.integers(0, length + 1)) if rng.random() < 0.6 else 0 for length in lengths],
        context_start=rng.integers(0, 9, num_sequences).tolist() if context else None,
    )


def alone(network: PreTrainedModel, request: Request) -> Tensor:
    """Run a whole sequence through transformers without a cache; return its logits [T, V]."""
    ids = torch.from_numpy(draw_tokens(SEED, request.sequence, range(request.total_tokens), VOCABULARY))
    with torch.inference_mode():
        logits: Tensor = network(input_ids=ids[None], use_cache=False).logits[0]
        return logits


def last_positions(step: Step) -> dict[int, int]:
    """Return the position of the last token of each request of a step, by the request's identity."""
    if step.is_prefill:
        return {id(step.requests[0]): step.contexts[-1] - 1}
    return {id(request): context - 1 for request, context in zip(step.requests, step.contexts, strict=True)}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("batch", "chunk"), [(1, None), (3, None), (3, 2), (4, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_those_of_each_sequence_alone(
    tmp_path: Path, seed: int, batch: int, chunk: int | None, attention: str
) -> None:
    """Whatever rows it shares a step with, and whoever had its row before."""
    check(tmp_path, model("qwen3_moe", attention), seed, batch, chunk, 1e-9 if attention == "sdpa" else 1e-5)


@pytest.mark.parametrize("family", FULL_ATTENTION)
def test_families_with_full_attention_are_followed(tmp_path: Path, family: str) -> None:
    check(tmp_path, model(family), 5, 3, 4, 1e-6 if family == "glm4_moe" else 1e-9)  # its router multiplies in float32


def check(folder: Path, network: PreTrainedModel, seed: int, batch: int, chunk: int | None, tolerance: float) -> None:
    """Run a random loop twice over one runner and hold each emitted row to the sequence alone."""
    trace = random_trace(folder, seed)
    runner = StepRunner(network, CPU, batch=batch, max_context=12, seed=SEED)
    loop = ClosedLoop(trace=trace, sequences=range(trace.num_sequences), batch=batch, prefill_chunk_tokens=chunk)
    expected: dict[int, Tensor] = {}
    for _ in range(2):
        for step in loop.steps():
            logits = runner.logits(step)
            assert logits.shape == (len(step.emits), VOCABULARY)
            positions = last_positions(step)
            for request, row in zip(step.emits, logits, strict=True):
                whole = expected.setdefault(request.sequence, alone(network, request))
                assert (row - whole[positions[id(request)]]).abs().max() < tolerance
        runner.reset()


def test_the_greedy_choice_of_those_that_emit_comes_back_to_the_host(tmp_path: Path) -> None:
    """Two runners say the same; one of them says logits."""
    network = model("mixtral")
    trace = random_trace(tmp_path, 3)
    one, other = (StepRunner(network, CPU, batch=2, max_context=12, seed=SEED) for _ in range(2))
    loop = ClosedLoop(trace=trace, sequences=range(trace.num_sequences), batch=2, prefill_chunk_tokens=3)
    for step, same in zip(loop.steps(), loop.steps(), strict=True):
        ids = one.run(step)
        assert ids.dtype == torch.int64
        assert ids.tolist() == other.logits(same).argmax(-1).tolist()


def test_a_prefill_runs_the_head_for_its_last_token_alone_and_a_chunk_not_at_all(tmp_path: Path) -> None:
    network = model("mixtral")
    rows: list[int] = []
    network.get_output_embeddings().register_forward_pre_hook(
        lambda _head, args: rows.append(args[0].shape[:-1].numel())
    )
    trace = make_trace(tmp_path / "t.safetensors", [[[[0]]] * 7], num_experts=1, prompt_tokens=[6])
    runner = StepRunner(network, CPU, batch=1, max_context=7, seed=SEED)
    for step in ClosedLoop(trace=trace, sequences=[0], batch=1, prefill_chunk_tokens=4).steps():
        runner.run(step)
    assert rows == [1, 1]  # the second chunk, the decode step


def test_attention_is_given_a_mask_only_where_rows_differ(tmp_path: Path) -> None:
    """A first chunk, a single row and rows of one length run the kernels that need none."""
    network = model("qwen3_moe")
    masks: list[bool] = []
    network.get_decoder().layers[0].self_attn.register_forward_pre_hook(
        lambda _module, _args, kwargs: masks.append(kwargs["attention_mask"] is not None), with_kwargs=True
    )
    trace = make_trace(
        tmp_path / "t.safetensors", [[[[0]]] * 6, [[[0]]] * 6, [[[0]]] * 4], num_experts=1, prompt_tokens=[4, 4, 1]
    )
    runner = StepRunner(network, CPU, batch=2, max_context=6, seed=SEED)
    for step in ClosedLoop(trace=trace, sequences=[0, 1, 2], batch=2, prefill_chunk_tokens=3).steps():
        runner.run(step)
    # 0: chunk, its last token; 1: the same; both twice; 2: its prompt, then three tokens alone
    assert masks == [False] * 4 + [False] * 2 + [False] * 4
    masks.clear()
    for step in ClosedLoop(trace=trace, sequences=[0, 2], batch=2, prefill_chunk_tokens=2).steps():
        runner.run(step)
    # 0: chunk, chunk that continues; 2: its prompt; both twice, of two lengths; 2 alone
    assert masks == [False, True, False, True, True, False]


def test_an_unrecorded_context_is_attended_to_at_its_positions(tmp_path: Path) -> None:
    """Positions go on from it; it changes the logits, the same for the same seed, and its entries stay as they are."""
    network = model("qwen3_moe")
    trace = random_trace(tmp_path, 2, context=True)
    assert trace.context_start.max() > 0
    longest = int((trace.context_start + np.diff(trace.sequence_start)).max())
    positions: list[list[int]] = []
    network.get_decoder().rotary_emb.register_forward_pre_hook(
        lambda _module, _args, kwargs: positions.append(kwargs["position_ids"].flatten().tolist()), with_kwargs=True
    )
    loop = ClosedLoop(trace=trace, sequences=range(trace.num_sequences), batch=3, prefill_chunk_tokens=2)
    runners = [StepRunner(network, CPU, batch=3, max_context=longest, seed=seed) for seed in (SEED, SEED, SEED + 1)]
    logits: list[list[Tensor]] = [[], [], []]
    for mine, runner in zip(logits, runners, strict=True):
        for step in loop.steps():
            positions.clear()
            mine.append(runner.logits(step))
            assert positions == [[context - 1 for context in step.contexts]]
            assert mine[-1].isfinite().all()
    assert all(torch.equal(one, other) for one, other in zip(logits[0], logits[1], strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(logits[0], logits[2], strict=True))


def test_requests_of_a_step_may_stand_in_any_order() -> None:
    """Rows are the request's own, however a scheduler orders it, and whoever sits out a step or emits nothing."""
    network = model("mixtral")
    runner = StepRunner(network, CPU, batch=3, max_context=4, seed=SEED)
    a, b, c = (Request(index=index, sequence=index, prompt_tokens=0, total_tokens=4) for index in range(3))
    whole = {id(request): alone(network, request) for request in (a, b, c)}
    at = {id(request): 0 for request in (a, b, c)}
    for number, requests in enumerate([[a, b, c], [c, a], [b], [b, c, a]]):
        emits = requests[::-1][:2]
        step = Step(
            is_prefill=False,
            tokens=[[[0]]] * len(requests),
            contexts=[at[id(request)] + 1 for request in requests],
            requests=requests,
            emits=emits,
            joins=[a, b, c] if number == 0 else [],
        )
        for request, row in zip(emits, runner.logits(step), strict=True):
            assert (row - whole[id(request)][at[id(request)]]).abs().max() < 1e-9
        for request in requests:
            at[id(request)] += 1


def test_a_sequence_longer_than_a_row_is_refused(tmp_path: Path) -> None:
    trace = make_trace(tmp_path / "t.safetensors", [[[[0]]] * 5], num_experts=1, context_start=[4])
    runner = StepRunner(model("mixtral"), CPU, batch=1, max_context=8, seed=SEED)
    with pytest.raises(InputError, match=r"max_context: is 8 tokens, but sequence 0 has 9: 4 before .* allow 9"):
        runner.run(next(ClosedLoop(trace=trace, sequences=[0], batch=1).steps()))


@pytest.mark.parametrize("family", OTHERS)
def test_other_kinds_of_attention_are_refused_by_name(family: str) -> None:
    with pytest.raises(InputError, match=OTHERS[family]):
        StepRunner(build(family), CPU, batch=1, max_context=8, seed=SEED)


def test_tokens_depend_on_seed_sequence_and_position_alone() -> None:
    """A range is the sum of its parts; 64 k draws of 97 ids are spread evenly."""
    whole = draw_tokens(SEED, 3, range(20), 1000)
    assert whole.tolist() == [*draw_tokens(SEED, 3, range(9), 1000), *draw_tokens(SEED, 3, range(9, 20), 1000)]
    assert whole.tolist() != draw_tokens(SEED, 4, range(20), 1000).tolist()
    assert whole.tolist() != draw_tokens(SEED + 1, 3, range(20), 1000).tolist()
    counts = np.bincount(draw_tokens(SEED, 0, range(1 << 16), VOCABULARY), minlength=VOCABULARY)
    expected = (1 << 16) / VOCABULARY
    assert ((counts - expected) ** 2 / expected).sum() < 150  # chi-squared of 96 degrees: p = 0.0003
