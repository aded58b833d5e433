"""What becomes of forward passes: sequences, prompts, padding, ends, shards, interrupts."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.capture.families import COMMON, VOCABULARY, build, sharpen
from traces.capture import ROUTER_READERS, find_moe_layers, record
from traces.errors import TraceError
from traces.format import Sequences, open_trace

PROMPT = torch.randint(3, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(2))
LEFT = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])


@pytest.fixture(scope="module")
def mixtral() -> transformers.PreTrainedModel:
    return build("mixtral")


def lengths(recorded: Sequences) -> list[int]:
    return [int(length) for length in np.diff(recorded.sequence_start)]


def greedy(model: transformers.PreTrainedModel, prompt: Tensor, **options: object) -> list[list[int]]:
    output = model.generate(prompt, do_sample=False, **({"eos_token_id": None} | options))
    return [[int(token) for token in row] for row in output.tolist()]


def tokens(recorded: Sequences) -> list[list[int]]:
    assert recorded.token_ids is not None
    start = recorded.sequence_start.tolist()
    return [recorded.token_ids[low:high].tolist() for low, high in pairwise(start)]


def single_pass(model: transformers.PreTrainedModel, token_ids: list[int]) -> NDArray[np.generic]:
    """Return expert ids of one whole sequence, recorded alone in a single pass."""
    with record(model) as recorder:
        model(torch.tensor([token_ids]))
    return recorder.sequences().expert_ids


def test_a_batch_with_padding_records_what_each_sequence_alone_would(mixtral: transformers.PreTrainedModel) -> None:
    """Left padding, batching and the cache leave no trace: a row equals a single pass over its tokens."""
    with record(mixtral, token_ids=True) as recorder:
        greedy(mixtral, PROMPT, attention_mask=LEFT, max_new_tokens=5)
    recorded = recorder.sequences()
    for row, fed in enumerate(tokens(recorded)):
        start = recorded.sequence_start[row]
        np.testing.assert_array_equal(recorded.expert_ids[start : start + len(fed)], single_pass(mixtral, fed))


def test_right_padding_is_not_recorded(mixtral: transformers.PreTrainedModel) -> None:
    """Padding on the right of a pass is left out too; a single pass is all prompt."""
    with record(mixtral, token_ids=True) as recorder:
        mixtral(PROMPT, attention_mask=LEFT.flip(1))
    recorded = recorder.sequences()
    assert lengths(recorded) == recorded.prompt_tokens.tolist() == [4, 6]
    assert tokens(recorded) == [PROMPT[0, :4].tolist(), PROMPT[1].tolist()]


def test_a_mask_can_be_given_to_the_recorder_alone(mixtral: transformers.PreTrainedModel) -> None:
    """`new_sequences(attention_mask=...)` serves loops that do not mask."""
    with record(mixtral) as recorder:
        recorder.new_sequences(attention_mask=LEFT.flip(1))
        mixtral(PROMPT)
    assert lengths(recorder.sequences()) == [4, 6]


def test_rows_end_at_their_end_of_sequence_token(mixtral: transformers.PreTrainedModel) -> None:
    """The end-of-sequence token of a row, and the padding that generate feeds after it, are not recorded."""
    free = greedy(mixtral, PROMPT, attention_mask=LEFT, max_new_tokens=8)
    eos = next(token for token in free[0][6:] if token not in free[1][6:])
    generated = free[0][6:].index(eos) + 1  # the last one is never fed
    assert generated < 8
    mixtral.generation_config.eos_token_id = eos
    try:
        with record(mixtral, token_ids=True) as recorder:
            greedy(mixtral, PROMPT, attention_mask=LEFT, max_new_tokens=8, eos_token_id=eos)
    finally:
        mixtral.generation_config.eos_token_id = 2
    recorded = recorder.sequences()
    assert lengths(recorded) == [4 + generated - 1, 6 + 8 - 1]
    assert tokens(recorded) == [free[0][2 : 6 + generated - 1], free[1][:-1]]


def test_an_end_of_sequence_token_in_a_prompt_ends_nothing(mixtral: transformers.PreTrainedModel) -> None:
    prompt = torch.tensor([[5, 2, 7, 8]])
    with record(mixtral, eos_token_ids=[2]) as recorder:
        mixtral(prompt)
    assert lengths(recorder.sequences()) == [4]


def test_a_loop_with_a_cache_makes_one_sequence_per_row(mixtral: transformers.PreTrainedModel) -> None:
    """A prompt fed in two chunks, then single tokens: the chunks are the prompt."""
    with record(mixtral, token_ids=True, eos_token_ids=()) as recorder:
        cache = mixtral(PROMPT[:, :4]).past_key_values
        for width in (slice(4, 6), slice(0, 1), slice(1, 2)):
            cache = mixtral(PROMPT[:, width], past_key_values=cache).past_key_values
    recorded = recorder.sequences()
    assert lengths(recorded) == [8, 8]
    assert recorded.prompt_tokens.tolist() == [6, 6]
    assert tokens(recorded) == [row + row[:2] for row in PROMPT.tolist()]


def test_a_pass_without_a_cache_begins_new_sequences(mixtral: transformers.PreTrainedModel) -> None:
    with record(mixtral) as recorder:
        mixtral(PROMPT)
        mixtral(PROMPT[:1])
    assert lengths(recorder.sequences()) == [6, 6, 6]


def test_what_a_cache_held_before_recording_is_the_context(mixtral: transformers.PreTrainedModel) -> None:
    """A conversation that is recorded from its second turn on says how many tokens stood before."""
    cache = mixtral(PROMPT, attention_mask=LEFT).past_key_values
    longer = torch.cat([LEFT, torch.ones(2, 1, dtype=torch.int64)], dim=1)
    with record(mixtral, eos_token_ids=()) as recorder:
        cache = mixtral(PROMPT[:, :1], attention_mask=longer, past_key_values=cache).past_key_values
        recorder.new_sequences(prompt_tokens=[1, 2])
        longer = torch.cat([longer, torch.ones(2, 2, dtype=torch.int64)], dim=1)
        mixtral(PROMPT[:, :2], attention_mask=longer, past_key_values=cache)
    recorded = recorder.sequences()
    assert recorded.context_start is not None
    assert recorded.context_start.tolist() == [4, 6, 5, 7]
    assert recorded.prompt_tokens.tolist() == [0, 0, 1, 2]
    assert lengths(recorded) == [1, 1, 2, 2]


def test_tokens_that_the_cache_drops_are_dropped(mixtral: transformers.PreTrainedModel) -> None:
    """Assisted decoding crops the cache where a draft was wrong; the recording follows."""
    with record(mixtral, token_ids=True, eos_token_ids=()) as recorder:
        cache = mixtral(PROMPT[:, :4]).past_key_values
        mixtral(PROMPT[:, 4:5], past_key_values=cache)
        mixtral(PROMPT[:, :3], past_key_values=cache)
        cache.crop(-2)
        mixtral(PROMPT[:, 5:], past_key_values=cache)
    recorded = recorder.sequences()
    assert tokens(recorded) == [[*row[:5], row[0], row[5]] for row in PROMPT.tolist()]
    assert recorded.prompt_tokens.tolist() == [4, 4]


def test_assisted_decoding_records_the_tokens_of_the_answer(mixtral: transformers.PreTrainedModel) -> None:
    with record(mixtral, token_ids=True) as recorder:
        recorder.new_sequences(prompt_tokens=[6])
        output = greedy(mixtral, PROMPT[1:], max_new_tokens=8, prompt_lookup_num_tokens=3)
    recorded = recorder.sequences()
    kept = tokens(recorded)[0]
    assert recorded.prompt_tokens.tolist() == [6]
    assert kept[: len(output[0]) - 1] == output[0][: len(kept)]


def test_prefill_in_chunks_is_all_prompt(mixtral: transformers.PreTrainedModel) -> None:
    with record(mixtral, token_ids=True, eos_token_ids=()) as recorder:
        output = greedy(mixtral, PROMPT, attention_mask=LEFT, max_new_tokens=3, prefill_chunk_size=4)
    recorded = recorder.sequences()
    assert recorded.prompt_tokens.tolist() == [4, 6]
    assert tokens(recorded) == [output[0][2:-1], output[1][:-1]]


def test_ends_can_be_said(mixtral: transformers.PreTrainedModel) -> None:
    """`end_sequences` cuts each row; a row that is cut to nothing is left out."""
    with record(mixtral) as recorder:
        mixtral(PROMPT)
        recorder.end_sequences([0, 3])
    assert lengths(recorder.sequences()) == [3]


def test_a_full_buffer_changes_nothing(mixtral: transformers.PreTrainedModel) -> None:
    recordings = []
    for buffer_tokens in (5, 4096):
        with record(mixtral, lookahead=1, buffer_tokens=buffer_tokens) as recorder:
            greedy(mixtral, PROMPT, attention_mask=LEFT, max_new_tokens=5)
        recordings.append(recorder.sequences().tensors())
    for name, tensor in recordings[0].items():
        np.testing.assert_array_equal(tensor, recordings[1][name])


def test_one_file_is_joined_from_shards(mixtral: transformers.PreTrainedModel, tmp_path: Path) -> None:
    """What lands on disk, in one file or in shards, is what memory would have held."""
    paths = (tmp_path / "one.safetensors", tmp_path / "many")
    with record(mixtral, eos_token_ids=()) as memory:
        for _ in range(3):
            mixtral(PROMPT)
    for path in paths:
        with record(mixtral, path, shard_tokens=12, eos_token_ids=()) as recorder:
            for _ in range(3):
                mixtral(PROMPT)
        trace = open_trace(path)
        np.testing.assert_array_equal(trace.sequences().expert_ids, memory.sequences().expert_ids)
        assert recorder.num_sequences == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many", "one.safetensors"]
    assert len(list(paths[1].glob("shard-*"))) == 3


@pytest.mark.parametrize("name", ["trace.safetensors", "trace"])
def test_an_interrupt_leaves_a_valid_shorter_trace(
    mixtral: transformers.PreTrainedModel, tmp_path: Path, name: str
) -> None:
    """An interrupt in the middle of a pass keeps the passes before it, of sequences that had not ended too."""
    calls = []

    def interrupt(*_: object) -> None:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt

    hook = find_moe_layers(mixtral)[1].experts.register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), record(mixtral, tmp_path / name, shard_tokens=8):  # noqa: PT012
            greedy(mixtral, PROMPT, max_new_tokens=3)
            greedy(mixtral, PROMPT, max_new_tokens=9)
    finally:
        hook.remove()
    trace = open_trace(tmp_path / name)
    trace.check()
    assert np.diff(trace.sequence_start).tolist() == [8, 8, 7, 7]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_hooks_are_gone_afterwards(mixtral: transformers.PreTrainedModel) -> None:
    with record(mixtral, lookahead=1):
        mixtral(PROMPT)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in mixtral.modules())


def test_token_ids_are_not_recorded_unless_asked_for(mixtral: transformers.PreTrainedModel, tmp_path: Path) -> None:
    with record(mixtral, tmp_path / "t.safetensors"):
        mixtral(PROMPT)
    trace = open_trace(tmp_path / "t.safetensors")
    assert trace.sequences().token_ids is None


def test_more_than_255_experts_take_two_bytes() -> None:
    config = transformers.MixtralConfig(**COMMON | {"num_local_experts": 300, "num_hidden_layers": 1})
    model = transformers.MixtralForCausalLM(config).eval()
    sharpen(model)
    states: list[Tensor] = []
    model.model.layers[0].mlp.gate.register_forward_pre_hook(lambda _module, args: states.append(args[0]))
    prompt = torch.randint(3, VOCABULARY, (1, 64), generator=torch.Generator().manual_seed(3))
    with record(model) as recorder, torch.no_grad():
        model(prompt)
    recorded = recorder.sequences()
    assert recorded.expert_ids.dtype == np.uint16
    assert recorded.expert_ids.max() > 255
    logits = states[0] @ model.model.layers[0].mlp.gate.weight.T
    np.testing.assert_array_equal(recorded.expert_ids[:, 0], logits.topk(2).indices)


def test_metadata_says_how_the_trace_came_about(mixtral: transformers.PreTrainedModel) -> None:
    with record(mixtral, lookahead=2, model_name="tiny") as recorder:
        mixtral(PROMPT)
    metadata = recorder.metadata
    assert (metadata.model, metadata.num_experts, metadata.gate) == ("tiny", 8, "softmax_top_k")
    assert metadata.extra["torch_version"] == torch.__version__
    assert metadata.extra["transformers_version"] == transformers.__version__
    assert (metadata.extra["device"], metadata.extra["dtype"]) == ("cpu", "float32")
    assert json.loads(metadata.extra["lookahead_valid"]) == [2, 1, 0]
    assert metadata.extra["date"].startswith("20")


def test_a_bank_that_is_used_twice_is_named_so() -> None:
    """Rounds of the trace are what ran; rounds that share experts share a bank."""
    model = build("mixtral")
    model.model.layers[2].mlp = model.model.layers[0].mlp
    with record(model) as recorder:
        model(PROMPT)
    assert recorder.metadata.banks == (0, 1, 0)
    assert recorder.sequences().expert_ids.shape[1] == 3


def test_bfloat16_weights_are_recorded() -> None:
    model = build("qwen3_moe").to(torch.bfloat16)
    with record(model) as recorder:
        model(PROMPT)
    recorded = recorder.sequences()
    assert recorded.gate_weights is not None
    assert recorder.metadata.gate == "softmax_top_k"
    np.testing.assert_allclose(recorded.gate_weights.sum(axis=-1, dtype=np.float32), 1, atol=1e-2)


def test_a_dropped_token_weighs_nothing() -> None:
    """Switch drops tokens beyond an expert's capacity: the pick is recorded, its weight is 0."""
    model = build("switch_transformers")
    for name, module in model.named_modules():
        if name.endswith("router"):
            module.expert_capacity = 1
    decoder_ids = PROMPT[:1].repeat(1, 3)
    with record(model, eos_token_ids=()) as recorder, torch.no_grad():
        model(input_ids=PROMPT[:1], decoder_input_ids=decoder_ids)
    recorded = recorder.sequences()
    assert recorded.gate_weights is not None
    ids, weights = recorded.expert_ids[:, 0, 0], recorded.gate_weights[:, 0, 0]
    first = [int(np.nonzero(ids == expert)[0][0]) for expert in np.unique(ids)]
    assert sorted(np.nonzero(weights)[0].tolist()) == sorted(first)


def test_a_model_without_experts_is_refused() -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**COMMON))
    with pytest.raises(TraceError, match="no mixture-of-experts layers"):
        record(model)


def test_an_encoder_is_refused() -> None:
    config = transformers.OpenAIPrivacyFilterConfig(**COMMON | {"num_local_experts": 8, "head_dim": 8})
    with pytest.raises(TraceError, match="encoder-only"):
        record(transformers.OpenAIPrivacyFilterForTokenClassification(config))


def test_a_family_that_cannot_be_read_says_what_to_add() -> None:
    options = {"num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 8}
    model = transformers.JetMoeForCausalLM(transformers.JetMoeConfig(**COMMON | options))
    with pytest.raises(TraceError, match=r"JetMoeParallelExperts.*ROUTER_READERS.*docs/capture.md"):
        record(model)


def test_a_family_is_added_by_a_reader_of_its_router(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/capture.md: experts that are called otherwise, and a router that returns logits."""

    class MyExperts(nn.Module):
        num_experts = 4

        def forward(self, hidden_states: Tensor, shares: Tensor) -> Tensor:
            return hidden_states * shares.sum(dim=-1, keepdim=True)

    class MyBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(8, 4, bias=False)
            self.experts = MyExperts()

    class MyModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 8)
            self.block = MyBlock()

        def forward(self, input_ids: Tensor) -> Tensor:
            hidden_states = self.embedding(input_ids).reshape(-1, 8)
            shares = self.block.router(hidden_states).softmax(dim=-1)
            experts: Tensor = self.block.experts(hidden_states, shares)
            return experts

    torch.manual_seed(0)
    model = MyModel().eval()
    with pytest.raises(TraceError, match="MyExperts"):
        record(model)

    def read(_router: nn.Module, output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        assert isinstance(output, Tensor)
        weights, ids = output.softmax(dim=-1).topk(2)
        return ids, weights

    monkeypatch.setitem(ROUTER_READERS, "MyExperts", read)
    with record(model) as recorder:
        model(PROMPT[:1] % 10)
    expected = model.block.router(model.embedding(PROMPT[0] % 10)).topk(2).indices
    np.testing.assert_array_equal(recorder.sequences().expert_ids[:, 0], expected)


def test_a_call_of_an_inner_module_is_not_recorded_in_silence(mixtral: transformers.PreTrainedModel) -> None:
    with pytest.raises(TraceError, match=r"ran outside a forward pass of MixtralForCausalLM"), record(mixtral):
        mixtral.model(PROMPT)
    with pytest.raises(TraceError, match="nothing was recorded"), record(mixtral):
        pass


def test_entries_per_row_must_match_the_batch(mixtral: transformers.PreTrainedModel) -> None:
    with record(mixtral) as recorder:
        recorder.new_sequences(prompt_tokens=[1])
        with pytest.raises(TraceError, match="prompt_tokens has 1 entries for a batch of 2 rows"):
            mixtral(PROMPT)
        mixtral(PROMPT)
        with pytest.raises(TraceError, match="num_tokens has 1 entries for 2 rows"):
            recorder.end_sequences([1])
        mixtral(PROMPT)


def test_a_static_cache_is_followed(mixtral: transformers.PreTrainedModel) -> None:
    """With a cache of fixed size generate prepares the mask itself, so that padding has to be told."""
    recordings = []
    for implementation in ("dynamic", "static"):
        with record(mixtral, eos_token_ids=()) as recorder:
            recorder.new_sequences(attention_mask=LEFT)
            options = {"cache_implementation": implementation, "disable_compile": True}
            greedy(mixtral, PROMPT, attention_mask=LEFT, max_new_tokens=5, **options)
        recordings.append(recorder.sequences().expert_ids)
    np.testing.assert_array_equal(recordings[0], recordings[1])
    with pytest.raises(TraceError, match=r"prepared already.*new_sequences\(attention_mask"), record(mixtral):
        greedy(mixtral, PROMPT, attention_mask=LEFT, max_new_tokens=2, **options)


def test_layers_on_several_devices_are_joined(
    mixtral: transformers.PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds are stacked per device and joined on the host; a split of one device stands in for two."""
    recordings = []
    for split in (None, [[0], [1, 2]]):
        if split is not None:
            monkeypatch.setattr("traces.capture.stack.device_groups", lambda _routing, split=split: split)
        with record(mixtral, lookahead=2, eos_token_ids=()) as recorder:
            greedy(mixtral, PROMPT, max_new_tokens=4)
        recordings.append(recorder.sequences().tensors())
    for name, tensor in recordings[0].items():
        np.testing.assert_array_equal(tensor, recordings[1][name])


def test_weights_that_accelerate_moves_in_and_out_are_no_obstacle() -> None:
    """A model that is offloaded to host memory layer by layer records the same, lookahead included."""
    accelerate = pytest.importorskip("accelerate")
    model = build("mixtral")
    recordings = []
    for offload in (False, True):
        if offload:
            accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
            assert model.model.layers[1].mlp.gate.weight.device.type == "meta"
        with record(model, lookahead=2, eos_token_ids=()) as recorder:
            greedy(model, PROMPT, attention_mask=LEFT, max_new_tokens=4)
        recordings.append(recorder.sequences().tensors())
    for name, tensor in recordings[0].items():
        np.testing.assert_array_equal(tensor, recordings[1][name])


def test_an_existing_trace_is_not_overwritten(mixtral: transformers.PreTrainedModel, tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_text("mine")
    with pytest.raises(TraceError, match="exists already"):
        record(mixtral, tmp_path / "t.safetensors")
    (tmp_path / "u.safetensors.parts").mkdir()
    with pytest.raises(TraceError, match="interrupted capture"):
        record(mixtral, tmp_path / "u.safetensors")


def test_lookahead_where_a_router_needs_more_than_the_state_is_refused() -> None:
    model = build("mixtral")
    block = model.model.layers[1].mlp

    class Hashed(type(block.gate)):  # type: ignore[misc]
        def forward(self, hidden_states: Tensor, input_ids: Tensor) -> None: ...

    block.gate.__class__ = Hashed
    with pytest.raises(TraceError, match="needs input_ids beside the hidden states"):
        record(model, lookahead=1)
