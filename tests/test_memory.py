"""The memory budget, by hand."""

import pytest

from hardware_profiles.load import load_profile
from simulator.memory import memory_budget
from simulator.model import footprint
from simulator.model.load import load_model
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import ModelSpec

GIB = 1 << 30


def test_mixtral_by_hand() -> None:
    """Mixtral-8x7B in 16 bit on 24 GiB: four sequences of 1,000 tokens, prefills of up to 500.

    Per layer: attention 2 * 4096^2 + 2 * 4096 * 1024, router 4096 * 8, two norms of 4096. Beside the layers: table and
    head of 32,000 * 4096, a norm. KV: 2 * 8 * 128 values of 2 bytes per token and layer. Activations: per token
    2 * 4096 + 3 * 32 * 128 + 3 * 2 * 14336 values of 2 bytes, and 32,000 logits of 4 bytes per sequence.
    """
    budget = memory_budget(
        load_model("mixtral-8x7b"),
        load_profile("rtx-4090"),
        parse_quantisation("bf16"),
        batch=4,
        longest_context=1000,
        largest_step_tokens=500,
    )
    per_layer = 2 * 4096**2 + 2 * 4096 * 1024 + 4096 * 8 + 2 * 4096
    assert budget.capacity_bytes == 24 * GIB
    assert budget.reserve_bytes == GIB
    assert budget.non_expert_bytes == 2 * (32 * per_layer + 2 * 32_000 * 4096 + 4096) == 3_211_272_192
    assert budget.kv_cache_bytes == 4 * 1000 * 32 * 2 * 8 * 128 * 2 == 524_288_000
    assert budget.activation_bytes == 500 * 2 * (8192 + 12_288 + 86_016) + 4 * 4 * 32_000 == 107_008_000
    assert budget.expert_cache_bytes == 23 * GIB - 3_211_272_192 - 524_288_000 - 107_008_000


def kv_bytes(model: ModelSpec, *, batch: int, longest_context: int, kv_cache: str = "bf16") -> int:
    """Return the KV cache's share of a budget."""
    budget = memory_budget(
        model,
        load_profile("h100"),
        parse_quantisation(kv_cache),
        batch=batch,
        longest_context=longest_context,
        largest_step_tokens=batch,
    )
    return budget.kv_cache_bytes


def test_sliding_layers_keep_their_window() -> None:
    """gpt-oss-20b: 12 layers keep 128 tokens, 12 keep all, of 2 * 8 * 64 values."""
    model = load_model("gpt-oss-20b")
    assert kv_bytes(model, batch=3, longest_context=5000) == 3 * 12 * (128 + 5000) * 1024 * 2
    assert kv_bytes(model, batch=3, longest_context=100) == 3 * 24 * 100 * 1024 * 2
    assert kv_bytes(model, batch=1, longest_context=100, kv_cache="int8") == 24 * 100 * 1024


def test_latent_attention_keeps_the_latent() -> None:
    """DeepSeek-V2-Lite: 512 + 64 values per token and layer, for all heads together."""
    assert kv_bytes(load_model("deepseek-v2-lite"), batch=1, longest_context=10) == 27 * 10 * 576 * 2


def test_linear_layers_keep_a_state_per_sequence() -> None:
    """Qwen3.5: its linear layers' state counts for each sequence, and does not grow with the context."""
    model = load_model("qwen3.5-35b-a3b")
    per_token = sum(footprint.kv_bytes_per_token(model, layer, 2) for layer in range(model.num_layers))
    states = sum(footprint.state_bytes(model, layer, 2) for layer in range(model.num_layers))
    assert states > 0
    assert kv_bytes(model, batch=2, longest_context=7) == 2 * (7 * per_token + states)


@pytest.mark.parametrize("name", ["mixtral-8x7b", "kimi-k2"])
def test_the_parts_add_up_to_the_whole(name: str) -> None:
    """What is left is the rest, negative where weights alone are too large."""
    budget = memory_budget(
        load_model(name),
        load_profile("t4"),
        parse_quantisation("bf16"),
        batch=8,
        longest_context=4096,
        largest_step_tokens=512,
    )
    used = budget.reserve_bytes + budget.non_expert_bytes + budget.kv_cache_bytes + budget.activation_bytes
    assert budget.capacity_bytes == used + budget.expert_cache_bytes
    assert (budget.expert_cache_bytes < 0) == (name == "kimi-k2")
