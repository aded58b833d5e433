"""The sizes of moesim-nano that can be trained, and the model built from one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Qwen3MoeForCausalLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One size of model, and how it is trained. Every layer is an MoE layer; gate: softmax over the top-k."""

    vocabulary: int
    hidden: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_experts: int
    top_k: int
    expert_hidden: int
    window_tokens: int  # of one training sequence
    batch_windows: int
    peak_learning_rate: float
    dtype: str  # of the forward pass; weights and optimizer are float32
    experts: str  # transformers' experts implementation: the fastest that was measured to train right on the device
    balance_weight: float = 0.01  # of each layer's load-balancing loss
    warmup_steps: int = 100
    weight_decay: float = 0.1
    clip_norm: float = 1.0


PRESETS = {
    # 4.9 M parameters: 9.8 MB in bfloat16. What ships.
    "cpu": Preset(
        vocabulary=4096,
        hidden=128,
        num_layers=8,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        num_experts=32,
        top_k=2,
        expert_hidden=40,
        window_tokens=256,
        batch_windows=8,
        peak_learning_rate=3e-3,
        dtype="float32",
        experts="grouped_mm",
    ),
    # 121 M parameters, 15 M of them active: for tens of minutes on one large GPU. Not run yet.
    "gpu": Preset(
        vocabulary=8192,
        hidden=384,
        num_layers=12,
        num_heads=6,
        num_kv_heads=2,
        head_dim=64,
        num_experts=64,
        top_k=4,
        expert_hidden=128,
        window_tokens=512,
        batch_windows=128,
        peak_learning_rate=1e-3,
        dtype="bfloat16",
        experts="grouped_mm",
        warmup_steps=200,
    ),
    # A few thousand parameters: for tests of the command itself.
    "test": Preset(
        vocabulary=300,
        hidden=16,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        num_experts=4,
        top_k=2,
        expert_hidden=8,
        window_tokens=32,
        batch_windows=2,
        peak_learning_rate=2e-3,
        dtype="float32",
        experts="eager",
        warmup_steps=1,
    ),
}


def build_model(preset: Preset) -> "Qwen3MoeForCausalLM":
    """Return a fresh model of a preset, with random float32 weights."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    fields: dict[str, Any] = {
        "vocab_size": preset.vocabulary,
        "hidden_size": preset.hidden,
        "intermediate_size": 4 * preset.hidden,  # of dense layers, of which there are none
        "num_hidden_layers": preset.num_layers,
        "num_attention_heads": preset.num_heads,
        "num_key_value_heads": preset.num_kv_heads,
        "head_dim": preset.head_dim,
        "max_position_embeddings": 4 * preset.window_tokens,
        "num_experts": preset.num_experts,
        "num_experts_per_tok": preset.top_k,
        "moe_intermediate_size": preset.expert_hidden,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "router_aux_loss_coef": preset.balance_weight,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    model: Qwen3MoeForCausalLM = Qwen3MoeForCausalLM._from_config(
        Qwen3MoeConfig(**fields), attn_implementation="sdpa", experts_implementation=preset.experts
    )
    return model
