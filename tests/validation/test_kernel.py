"""Experts computed one by one add up to what transformers computes of a whole layer."""

from collections.abc import Mapping
from functools import partial

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from transformers.integrations.moe import batched_mm_experts_forward

from tests.capture.families import EXPERTS, TOP_K, build
from traces.capture.layers import find_moe_layers
from validation.runtime.experts import layout_of
from validation.runtime.kernel import compute_expert
from validation.runtime.output import LayerOutput, weighted_sum

KINDS = {
    "mixtral": "gated",
    "gpt_oss": "transposed, with biases, gate and up interleaved",
    "nemotron_h": "no gate",
    "deepseek_v3": "gated, the weights scaled",
}


def experts_of(family: str, dtype: torch.dtype) -> nn.Module:
    """Return the first experts module of a tiny model, in a dtype, its biases not zero."""
    experts = find_moe_layers(build(family).to(dtype))[0].experts
    for name, one in experts.named_parameters():
        if name.endswith("_bias"):
            nn.init.normal_(one, generator=torch.Generator().manual_seed(3))
    return experts


def tokens_for(experts: nn.Module, num_tokens: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, ids and weights of some tokens."""
    generator = torch.Generator().manual_seed(num_tokens)
    width = next(one.shape[-1] for one in layout_of(experts).tensors if one.name in ("gate_up_proj", "up_proj"))
    if experts.is_transposed:
        width = experts.hidden_size
    hidden = torch.randn(num_tokens, width, generator=generator).to(dtype)
    ids = torch.rand(num_tokens, EXPERTS, generator=generator).topk(TOP_K).indices
    weights = torch.rand(num_tokens, TOP_K, generator=generator).to(dtype)
    return hidden, ids, weights


def tensors_of(experts: nn.Module, expert: int) -> Mapping[str, Tensor]:
    """Return an expert's slices of the module's parameters."""
    return {one.name: experts.get_parameter(one.name)[expert].detach() for one in layout_of(experts).tensors}


def ours(experts: nn.Module, hidden: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Return a layer's output, expert by expert."""
    return weighted_sum(experts, lambda expert: tensors_of(experts, expert), hidden, ids, weights)


@pytest.mark.parametrize("num_tokens", [1, 2, 33])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("family", KINDS)
def test_a_layer_equals_that_of_transformers(
    family: str, dtype: torch.dtype, tolerance: float, num_tokens: int
) -> None:
    """Whatever the kind of expert: `KINDS` says what is particular about each."""
    experts = experts_of(family, dtype)
    tokens = tokens_for(experts, num_tokens, dtype)
    with torch.no_grad():
        expected = batched_mm_experts_forward(experts, *tokens)
    found = ours(experts, *tokens)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert float(expected.abs().max()) > 1e-4
    assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_norm_of_the_experts_output_is_applied() -> None:
    """A module that says so has its norm between the expert and its weight."""
    experts = experts_of("mixtral", torch.float64)
    experts.has_post_expert_norm = True
    experts.post_expert_norm = nn.LayerNorm(32, dtype=torch.float64)
    tokens = tokens_for(experts, 9, torch.float64)
    with torch.no_grad():
        expected = batched_mm_experts_forward(experts, *tokens)
    assert torch.allclose(ours(experts, *tokens), expected, rtol=1e-13, atol=1e-13)


def test_one_expert_by_hand() -> None:
    """Mixtral's expert is down(silu(gate x) * up x), written out."""
    experts = experts_of("mixtral", torch.float64)
    tensors = tensors_of(experts, 5)
    hidden = tokens_for(experts, 3, torch.float64)[0]
    gate, up = tensors["gate_up_proj"][:48], tensors["gate_up_proj"][48:]
    projected = hidden @ gate.T
    expected = (projected / (1 + torch.exp(-projected)) * (hidden @ up.T)) @ tensors["down_proj"].T
    assert torch.allclose(compute_expert(experts, tensors, hidden), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("num_tokens", [1, 2, 17])
def test_the_order_of_the_experts_changes_nothing(num_tokens: int) -> None:
    """Forwards, backwards, and with ids given by the host: the same bits."""
    experts = experts_of("mixtral", torch.float32)
    hidden, ids, weights = tokens_for(experts, num_tokens, torch.float32)
    results = []
    for step, host_ids in ((1, None), (-1, None), (1, ids.tolist())):
        output = LayerOutput(hidden, ids, weights, host_ids_NK=host_ids)
        for expert in output.experts[::step]:
            output.add(expert, partial(compute_expert, experts, tensors_of(experts, expert)))
        results.append(output.result())
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_each_expert_sees_its_tokens_and_only_those() -> None:
    """Three tokens over experts 4, 1 and 6; `add` multiplies by the rank's weight."""
    hidden = torch.tensor([[1.0], [2.0], [3.0]])
    ids = torch.tensor([[4, 1], [1, 6], [6, 4]])
    weights = torch.tensor([[0.5, 0.25], [2.0, 3.0], [10.0, 100.0]])
    output = LayerOutput(hidden, ids, weights)
    assert output.experts == (1, 4, 6)
    assert {expert: output.rows(expert).flatten().tolist() for expert in output.experts} == {
        1: [1.0, 2.0],
        4: [1.0, 3.0],
        6: [2.0, 3.0],
    }
    assert [output.num_tokens(expert) for expert in output.experts] == [2, 2, 2]
    output.add(6, lambda rows: rows * 7)
    output.add(1, lambda rows: rows)
    # expert 4 is left out, and counts as nothing
    assert output.result().tolist() == [[0.25 * 1], [2.0 * 2 + 3.0 * 14], [10.0 * 21]]


def test_a_single_token_is_not_copied() -> None:
    """Its experts are given the state itself, and are in the order of their ids."""
    hidden = torch.tensor([[1.0, 2.0]])
    output = LayerOutput(hidden, torch.tensor([[6, 2]]), torch.tensor([[0.5, 4.0]]))
    assert output.experts == (2, 6)
    assert output.rows(6).data_ptr() == hidden.data_ptr()
    output.add(2, lambda rows: rows)
    output.add(6, lambda rows: rows * 10)
    assert output.result().tolist() == [[4 + 5.0, 8 + 10.0]]


@pytest.mark.parametrize("num_tokens", [1, 4])
def test_weights_wider_than_the_states_are_summed_wide(num_tokens: int) -> None:
    """bfloat16 states with float32 weights: rounded once, at the end, as `batched_mm` does."""
    experts = experts_of("mixtral", torch.bfloat16)
    hidden, ids, weights = tokens_for(experts, num_tokens, torch.bfloat16)
    weights = weights.float() * 1.001
    with torch.no_grad():
        expected = batched_mm_experts_forward(experts, hidden, ids, weights)
    found = ours(experts, hidden, ids, weights)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), rtol=2**-7, atol=1e-5)


def test_an_expert_twice_in_a_row_counts_twice() -> None:
    """Hash routers that are not trained may give the same id twice."""
    output = LayerOutput(torch.tensor([[1.0]]), torch.tensor([[3, 3]]), torch.tensor([[1.0, 2.0]]))
    output.add(3, lambda rows: rows)
    assert output.result().tolist() == [[3.0]]
