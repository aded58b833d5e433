"""GPU memory as a budget: what is left for the expert cache.

    capacity - reserve - non-expert weights - KV cache - activations = expert cache

The KV cache is that of the batch at the longest context of the run; activations those of its largest step: per token the
residual stream and its norm, queries, keys and values, and the expert's inner width for each of the top-k, in 16 bit, and
the logits of each output in 32 bit.

Limits: activations are an upper estimate for one layer at a time; no fragmentation beyond the profile's reserve; staging
buffers of a runtime are part of its reserve.
"""

from dataclasses import dataclass

from hardware_profiles.profile import HardwareProfile
from simulator.model.footprint import (
    attended_tokens,
    kv_bytes_per_token,
    non_expert_bytes,
    state_bytes,
)
from simulator.model.quantisation import Quantisation
from simulator.model.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """Bytes of GPU memory by use; `expert_cache_bytes` is what is left and may be negative."""

    capacity_bytes: int
    reserve_bytes: int
    non_expert_bytes: int
    kv_cache_bytes: int
    activation_bytes: int
    expert_cache_bytes: int


def memory_budget(
    model: ModelSpec,
    profile: HardwareProfile,
    kv_cache: Quantisation,
    *,
    batch: int,
    longest_context: int,
    largest_step_tokens: int,
) -> MemoryBudget:
    """Divide the GPU's memory for a run with `batch` sequences of at most `longest_context` tokens."""
    bytes_per_value = kv_cache.bits_per_weight / 8
    kv_cache_bytes = batch * sum(
        attended_tokens(model, layer, longest_context) * kv_bytes_per_token(model, layer, bytes_per_value)
        + state_bytes(model, layer, bytes_per_value)
        for layer in range(model.num_layers)
    )
    attention_width = 3 * model.num_heads * (model.head_dim or model.v_head_dim or 0)
    per_token = 2 * model.hidden_size + attention_width + 3 * model.top_k * model.expert_intermediate_size
    activation_bytes = 2 * per_token * largest_step_tokens + 4 * model.vocab_size * batch
    capacity_bytes, reserve_bytes = int(profile.gpu.memory.value), int(profile.gpu.memory_reserve.value)
    weights_bytes = non_expert_bytes(model)
    return MemoryBudget(
        capacity_bytes=capacity_bytes,
        reserve_bytes=reserve_bytes,
        non_expert_bytes=weights_bytes,
        kv_cache_bytes=kv_cache_bytes,
        activation_bytes=activation_bytes,
        expert_cache_bytes=capacity_bytes - reserve_bytes - weights_bytes - kv_cache_bytes - activation_bytes,
    )
