"""An offloaded model computes what it computed before, and keeps no expert's weights."""

import copy
import gc
import weakref

import pytest

pytest.importorskip("torch")

import torch
import transformers
from torch import Tensor, nn

from hardware_profiles.errors import InputError
from tests.capture.families import EXPERTS, FAMILIES, TOP_K, VOCABULARY, build
from tests.validation.plain_host import PlainHost, peak_bytes
from validation.runtime.offload import IMPLEMENTATION, OffloadedModel, offload
from validation.runtime.survey import survey

WITHOUT_INTERFACE = ("dbrx", "llama4", "longcat_flash", "switch_transformers", "nllb_moe")
TAKEN_OVER = [family for family in FAMILIES if family not in WITHOUT_INTERFACE]
MAIN = ["mixtral", "qwen3_moe", "gpt_oss", "olmoe", "deepseek_v2", "deepseek_v3", "glm4_moe", "nemotron_h"]
PROMPT = torch.randint(3, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(5))


def build_double(family: str) -> transformers.PreTrainedModel:
    """Build a family's model in float64, where transformers' default kernel cannot: its plain loop stands in."""
    model = build(family).double()
    model.set_experts_implementation("eager")
    return model


def offloaded(model: transformers.PreTrainedModel) -> OffloadedModel:
    """Offload a model to plain memory and have it computed from there."""
    taken = offload(model, PlainHost())
    taken.visit = taken.visit_from_host
    return taken


def logits_with_cache(model: nn.Module) -> list[Tensor]:
    """Return the logits of a prompt of two rows, then of three tokens after it, one by one."""
    with torch.no_grad():
        output = model(input_ids=PROMPT, use_cache=True)
        found = [output.logits]
        for token in range(3, 6):
            ids = torch.tensor([[token], [token + 10]])
            output = model(input_ids=ids, past_key_values=output.past_key_values, use_cache=True)
            found.append(output.logits)
    return found


@pytest.mark.parametrize("family", TAKEN_OVER)
def test_logits_are_those_of_the_model_before(family: str) -> None:
    """In float64, for prefill and with a cache, two rows at once."""
    model = build_double(family)
    expected = logits_with_cache(model)
    taken = offloaded(model)
    found = logits_with_cache(taken.model)
    assert float(expected[0].std()) > 1e-3
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) < 1e-12


@pytest.mark.parametrize("family", MAIN)
def test_float32_agrees_to_its_precision(family: str) -> None:
    """As above, in the format that models are built in."""
    model = build(family)
    expected = logits_with_cache(model)
    taken = offloaded(model)
    for one, other in zip(logits_with_cache(taken.model), expected, strict=True):
        assert float((one - other).abs().max()) < 1e-5


@pytest.mark.parametrize("family", MAIN)
def test_greedy_generation_gives_the_same_tokens(family: str) -> None:
    """Twelve tokens for each of two rows, one of them padded on the left."""
    model = build_double(family)
    mask = torch.ones_like(PROMPT)
    mask[0, :3] = 0
    keywords = {"attention_mask": mask, "max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(PROMPT, **keywords)
    taken = offloaded(model)
    assert torch.equal(taken.model.generate(PROMPT, **keywords), expected)


@pytest.mark.parametrize("family", TAKEN_OVER)
def test_no_expert_weight_is_left_in_the_model(family: str) -> None:
    """Its parameters are empty and the memory is gone: none of the old ones is alive."""
    model = build(family)
    before = {name: one.numel() for name, one in model.named_parameters()}
    old = [
        weakref.ref(one)
        for module in model.modules()
        if type(module).__name__.endswith("Experts")
        for one in module.parameters(recurse=False)
    ]
    taken = offloaded(model)
    gc.collect()
    for layer in range(taken.num_layers):
        assert all(one.numel() == 0 for one in taken.expert_module(layer).parameters(recurse=False))
    after = {name: one.numel() for name, one in model.named_parameters()}
    moved = sum(before.values()) - sum(after.values())
    assert moved * 4 == taken.host.num_bytes() == taken.num_layers * EXPERTS * taken.layout.num_bytes
    assert old
    assert not any(one() is not None for one in old)


def test_offloading_holds_one_layer_more_than_the_model() -> None:
    """A layer's weights are free before the next is copied; restoring needs no more either."""
    model_bytes = sum(one.nbytes for one in build("mixtral").parameters())
    layer_bytes = EXPERTS * 3 * 32 * 48 * 4

    def there() -> OffloadedModel:
        return offload(build("mixtral"), PlainHost())

    def there_and_back() -> nn.Module:
        return there().restore()

    for work in (there, there_and_back):
        assert model_bytes + layer_bytes <= peak_bytes(work) < model_bytes + layer_bytes * 1.1


def test_facts_of_the_model() -> None:
    """Layers count MoE layers only; keys are bank * E + expert."""
    taken = offloaded(build("qwen3_moe"))
    assert (taken.num_layers, taken.num_experts, taken.top_k, taken.dtype) == (2, EXPERTS, TOP_K, torch.float32)
    assert [layer.name for layer in taken.layers] == ["model.layers.0.mlp.experts", "model.layers.2.mlp.experts"]
    assert taken.bank_of_layer == (0, 1)
    assert taken.key(1, 3) == EXPERTS + 3


@pytest.mark.parametrize("family", TAKEN_OVER)
def test_top_k_is_what_routers_pick(family: str) -> None:
    """Whatever a family calls it."""
    model = build(family)
    taken = offload(model, PlainHost())
    seen: list[int] = []

    def visit(_layer: int, hidden: Tensor, ids: Tensor, _weights: Tensor) -> Tensor:
        seen.append(ids.shape[1])
        return torch.zeros_like(hidden)

    taken.visit = visit
    with torch.no_grad():
        model(input_ids=PROMPT)
    assert seen == [taken.top_k] * taken.num_layers


def test_a_visit_is_given_the_layer_and_what_the_router_chose() -> None:
    """In order of the layers, with the states of all rows, and its result is what the layer puts out."""
    model = build("mixtral")
    taken = offload(model, PlainHost())
    seen = []

    def visit(layer: int, hidden: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        seen.append((layer, tuple(hidden.shape), tuple(ids.shape), tuple(weights.shape), torch.is_grad_enabled()))
        ids_again, _ = taken.layers[layer].route(hidden)
        assert torch.equal(ids, ids_again)
        return torch.full_like(hidden, layer)

    taken.visit = visit
    model(input_ids=PROMPT)
    assert seen == [(layer, (14, 32), (14, TOP_K), (14, TOP_K), False) for layer in range(3)]


def test_two_models_do_not_mix() -> None:
    """Each experts module calls the visit of its own model."""
    first, second = offloaded(build("mixtral")), offloaded(copy.deepcopy(build("mixtral")))
    second.host.flat(0).zero_()
    one, other = logits_with_cache(first.model), logits_with_cache(second.model)
    assert not torch.equal(one[0], other[0])
    assert torch.equal(one[0], logits_with_cache(first.model)[0])


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_restoring_gives_the_model_back(family: str) -> None:
    """Weights and logits are bit for bit the old ones, the implementation too; the host memory is free."""
    model = build(family)
    weights = {name: one.detach().clone() for name, one in model.named_parameters()}
    expected = logits_with_cache(model)
    implementation = model.config._experts_implementation
    with offload(model, PlainHost()) as taken:
        assert model.config._experts_implementation == IMPLEMENTATION
    assert taken.host.num_bytes() == 0
    assert model.config._experts_implementation == implementation
    assert {name: tuple(one.shape) for name, one in model.named_parameters()} == {
        name: tuple(one.shape) for name, one in weights.items()
    }
    assert all(torch.equal(one, weights[name]) for name, one in model.named_parameters())
    assert all(torch.equal(*pair) for pair in zip(logits_with_cache(model), expected, strict=True))


def test_layers_that_share_weights_share_a_bank() -> None:
    """They are moved once, and are the same parameters again after restoring."""
    model = build_double("mixtral")
    first, _, last = (model.get_submodule(f"model.layers.{layer}.mlp.experts") for layer in range(3))
    for name in ("gate_up_proj", "down_proj"):
        last.register_parameter(name, first.get_parameter(name))
    expected = logits_with_cache(model)
    host = PlainHost()
    taken = offload(model, host)
    taken.visit = taken.visit_from_host
    assert taken.bank_of_layer == (0, 1, 0)
    assert host.num_tensors == 2 * EXPERTS
    for one, other in zip(logits_with_cache(model), expected, strict=True):
        assert float((one - other).abs().max()) < 1e-12
    taken.restore()
    assert first.gate_up_proj is last.gate_up_proj
    assert torch.equal(logits_with_cache(model)[0], expected[0])


def test_a_pass_without_a_visit_is_refused() -> None:
    """The message says what to set; and that the object must be kept."""
    model = build("mixtral")
    taken = offload(model, PlainHost())
    with pytest.raises(RuntimeError, match=r"set OffloadedModel\.visit"):
        model(input_ids=PROMPT)
    del taken
    gc.collect()
    with pytest.raises(RuntimeError, match="OffloadedModel is gone"):
        model(input_ids=PROMPT)


@pytest.mark.parametrize("family", WITHOUT_INTERFACE)
def test_experts_that_cannot_be_taken_over_are_refused(family: str) -> None:
    """The message names the class; the model is as it was."""
    model = build(family)
    wanted = "compute nothing" if family == "longcat_flash" else "use_experts_implementation"
    with pytest.raises(InputError, match=rf"Experts .*{wanted}"):
        offload(model, PlainHost())
    assert all(one.numel() for one in model.parameters())


def test_expert_parallel_is_refused() -> None:
    """Each process would hold its own experts."""
    model = build("mixtral")
    model.get_submodule("model.layers.1.mlp.experts")._is_expert_parallel = True
    with pytest.raises(InputError, match=r"MixtralExperts runs expert-parallel.*one process"):
        offload(model, PlainHost())


def test_a_dense_model_is_refused() -> None:
    """There is nothing to offload."""
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4
    )
    with pytest.raises(InputError, match="no mixture-of-experts layers"):
        survey(transformers.LlamaForCausalLM(config))


def test_layers_of_other_shapes_are_refused() -> None:
    """One layout serves all layers."""
    model = build("mixtral")
    experts = model.get_submodule("model.layers.1.mlp.experts")
    experts.down_proj = nn.Parameter(torch.zeros(EXPERTS, 32, 40))
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.experts has 8 experts of .* bytes"):
        survey(model)
