"""Tiny random-weight models of many architectures, and their routing worked out by hand.

Legend: N tokens, E experts, K top-k, H hidden width. The hand computations read the router's weights and the state
that enters it, and share no code with capture or with transformers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import transformers
from torch import Tensor, nn

VOCABULARY = 97
HIDDEN = 32
EXPERTS = 8
TOP_K = 2

Hand = Callable[[nn.Module, nn.Module, Tensor], tuple[Tensor, Tensor]]
"""(block, router, state [N, H]) -> scores for the choice [N, E], weights before the pick's normalisation [N, E]."""

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to build a tiny model of an architecture, and what its router does."""

    config: str
    model: str
    options: Mapping[str, object]
    hand: Hand
    gate: str
    layers: int = 3
    top_k: int = TOP_K
    experts: int = EXPERTS
    scale: float = 1.0
    biased: bool = False
    encoder_decoder: bool = False
    drop: tuple[str, ...] = field(default=())


def _linear(router: nn.Module, state: Tensor, *path: str) -> Tensor:
    module: nn.Module = router.get_submodule(".".join(path)) if path else router
    weight = dict(module.named_parameters())["weight"]
    return state.float() @ weight.float().T


def softmax_over_all(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities are a softmax; the experts of the largest are picked."""
    scores = torch.softmax(_linear(router, state), dim=-1)
    return scores, scores


def softmax_of(*path: str) -> Hand:
    """A softmax of the logits of a linear layer inside the router."""

    def hand(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.softmax(_linear(router, state, *path), dim=-1)
        return scores, scores

    return hand


def plain_sigmoid(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """Independent probabilities per expert."""
    scores = torch.sigmoid(_linear(router, state))
    return scores, scores


def with_bias(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """gpt-oss: a linear layer with a bias."""
    scores = torch.softmax(_linear(router, state) + dict(router.named_parameters())["bias"], dim=-1)
    return scores, scores


def sigmoid_with_block_bias(name: str, *path: str) -> Hand:
    """A sigmoid; a bias that the block holds decides which are picked, but does not weigh."""

    def hand(block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.sigmoid(_linear(router, state, *path))
        return scores + getattr(block, name), scores

    return hand


def sigmoid_with_router_bias(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """A sigmoid; a bias that the router holds decides which are picked, but does not weigh."""
    scores = torch.sigmoid(_linear(router, state))
    return scores + dict(router.named_buffers())["e_score_correction_bias"], scores


def sigmoid_in_groups(block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """DeepSeek-V3: only the better of two groups may be picked from, by the sum of its two best."""
    choice, scores = sigmoid_with_router_bias(block, router, state)
    for token in choice:
        groups = token.view(2, -1)
        best_two = [sum(sorted(group.tolist())[-2:]) for group in groups]
        groups[0 if best_two[0] < best_two[1] else 1] = -float("inf")
    return choice, scores


def softmax_in_groups(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """DeepSeek-V2: only the group that holds the largest probability may be picked from."""
    scores = torch.softmax(_linear(router, state), dim=-1)
    choice = scores.clone()
    for token in choice:
        groups = token.view(2, -1)
        groups[0 if groups[0].max() < groups[1].max() else 1] = 0
    return choice, scores


def sparsemixer(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """Phi-MoE: each of two picks weighs its share among the logits within 2 % of it; the second without the first."""
    logits = _linear(router, state)
    weights = torch.zeros_like(logits)
    for token, row in enumerate(logits.tolist()):
        left = dict(enumerate(row))
        for _ in range(2):
            best = max(left, key=lambda one: left[one])
            top = left[best]
            near = [value for value in left.values() if (top - value) / max(abs(value), top) <= 0.02]
            weights[token, best] = 1 / sum(float(torch.tensor(value - top).exp()) for value in near)
            del left[best]
    return logits, weights


def ernie(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """A softmax, and a learnt correction that decides but does not weigh."""
    scores = torch.softmax(_linear(router, state), dim=-1)
    correction = dict(router.named_parameters())["moe_statics.e_score_correction_bias"]
    return scores + correction.reshape(-1), scores


def longcat(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """A softmax over experts and experts that compute nothing, with a correction bias."""
    scores = torch.softmax(_linear(router, state, "classifier"), dim=-1)
    return scores + dict(router.named_buffers())["e_score_correction_bias"], scores


def gemma4(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """The router normalises the residual stream and scales it before its projection."""
    normed = state * torch.rsqrt(state.pow(2).mean(-1, keepdim=True) + 1e-6)
    scale = dict(router.named_parameters())["scale"]
    scores = torch.softmax(_linear(router, normed * scale * HIDDEN**-0.5, "proj"), dim=-1)
    return scores, scores


def sqrt_softplus(_block: nn.Module, router: nn.Module, state: Tensor) -> tuple[Tensor, Tensor]:
    """DeepSeek-V4's scores."""
    scores = torch.log1p(torch.exp(_linear(router, state))).sqrt()
    return scores + dict(router.named_buffers())["e_score_correction_bias"], scores


FAMILIES: dict[str, Family] = {
    "mixtral": Family(
        config="MixtralConfig",
        model="MixtralForCausalLM",
        options={"num_local_experts": EXPERTS, "num_experts_per_tok": TOP_K},
        hand=softmax_over_all,
        gate="softmax_top_k",
    ),
    "qwen2_moe": Family(
        config="Qwen2MoeConfig",
        model="Qwen2MoeForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
            "norm_topk_prob": False,
            "decoder_sparse_step": 2,
        },
        hand=softmax_over_all,
        gate="softmax",
        layers=1,
    ),
    "qwen3_moe": Family(
        config="Qwen3MoeConfig",
        model="Qwen3MoeForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
            "head_dim": 8,
            "mlp_only_layers": [1],
        },
        hand=softmax_over_all,
        gate="softmax_top_k",
        layers=2,
    ),
    "qwen3_next": Family(
        config="Qwen3NextConfig",
        model="Qwen3NextForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
            "head_dim": 8,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        },
        hand=softmax_over_all,
        gate="softmax_top_k",
    ),
    "olmoe": Family(
        config="OlmoeConfig",
        model="OlmoeForCausalLM",
        options={"num_experts": EXPERTS, "num_experts_per_tok": TOP_K, "norm_topk_prob": False},
        hand=softmax_over_all,
        gate="softmax",
    ),
    "flex_olmo": Family(
        config="FlexOlmoConfig",
        model="FlexOlmoForCausalLM",
        options={"num_experts": EXPERTS, "num_experts_per_tok": TOP_K},
        hand=softmax_over_all,
        gate="softmax",
    ),
    "deepseek_v2": Family(
        config="DeepseekV2Config",
        model="DeepseekV2ForCausalLM",
        options={
            "n_routed_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
            "topk_method": "group_limited_greedy",
            "n_group": 2,
            "topk_group": 1,
            "routed_scaling_factor": 1.5,
        },
        hand=softmax_in_groups,
        gate="softmax",
        scale=1.5,
        layers=2,
        biased=True,
    ),
    "deepseek_v3": Family(
        config="DeepseekV3Config",
        model="DeepseekV3ForCausalLM",
        options={
            "n_routed_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
            "n_group": 2,
            "topk_group": 1,
            "routed_scaling_factor": 2.5,
        },
        hand=sigmoid_in_groups,
        gate="sigmoid_top_k",
        scale=2.5,
        layers=2,
        biased=True,
    ),
    "gpt_oss": Family(
        config="GptOssConfig",
        model="GptOssForCausalLM",
        options={"num_local_experts": EXPERTS, "num_experts_per_tok": TOP_K, "head_dim": 8, "sliding_window": 16},
        hand=with_bias,
        gate="softmax_top_k",
    ),
    "phimoe": Family(
        config="PhimoeConfig",
        model="PhimoeForCausalLM",
        options={"num_local_experts": EXPERTS, "num_experts_per_tok": TOP_K},
        hand=sparsemixer,
        gate="sparsemixer",
    ),
    "glm4_moe": Family(
        config="Glm4MoeConfig",
        model="Glm4MoeForCausalLM",
        options={
            "n_routed_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
            "head_dim": 8,
            "n_group": 1,
            "topk_group": 1,
        },
        hand=sigmoid_with_router_bias,
        gate="sigmoid_top_k",
        layers=2,
        biased=True,
    ),
    "granitemoe": Family(
        config="GraniteMoeConfig",
        model="GraniteMoeForCausalLM",
        options={"num_local_experts": EXPERTS, "num_experts_per_tok": TOP_K},
        hand=softmax_over_all,
        gate="softmax_top_k",
    ),
    "minimax": Family(
        config="MiniMaxConfig",
        model="MiniMaxForCausalLM",
        options={
            "num_local_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "head_dim": 8,
            "block_size": 16,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        },
        hand=softmax_over_all,
        gate="softmax_top_k",
    ),
    "minimax_m2": Family(
        config="MiniMaxM2Config",
        model="MiniMaxM2ForCausalLM",
        options={"num_local_experts": EXPERTS, "num_experts_per_tok": TOP_K, "head_dim": 8},
        hand=sigmoid_with_block_bias("e_score_correction_bias"),
        gate="sigmoid_top_k",
        biased=True,
    ),
    "jamba": Family(
        config="JambaConfig",
        model="JambaForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 0,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
        hand=softmax_over_all,
        gate="softmax",
        layers=2,
    ),
    "dbrx": Family(
        config="DbrxConfig",
        model="DbrxForCausalLM",
        options={
            "d_model": HIDDEN,
            "n_heads": 4,
            "n_layers": 3,
            "max_seq_len": 128,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {
                "ffn_hidden_size": 48,
                "moe_num_experts": EXPERTS,
                "moe_top_k": TOP_K,
                "ffn_act_fn": {"name": "silu"},
            },
        },
        hand=softmax_of("layer"),
        gate="softmax_top_k",
        drop=(
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
        ),
    ),
    "ernie4_5_moe": Family(
        config="Ernie4_5_MoeConfig",
        model="Ernie4_5_MoeForCausalLM",
        options={
            "moe_num_experts": EXPERTS,
            "moe_k": TOP_K,
            "moe_intermediate_size": 24,
            "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1,
            "head_dim": 8,
        },
        hand=ernie,
        gate="softmax_top_k",
        layers=2,
        biased=True,
    ),
    "hunyuan_v1_moe": Family(
        config="HunYuanMoEV1Config",
        model="HunYuanMoEV1ForCausalLM",
        options={"num_experts": EXPERTS, "moe_topk": TOP_K, "head_dim": 8},
        hand=softmax_of("wg"),
        gate="softmax_top_k",
    ),
    "dots1": Family(
        config="Dots1Config",
        model="Dots1ForCausalLM",
        options={
            "n_routed_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
            "n_shared_experts": 1,
            "head_dim": 8,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": False,
        },
        hand=sigmoid_with_router_bias,
        gate="sigmoid",
        layers=2,
        biased=True,
    ),
    "lfm2_moe": Family(
        config="Lfm2MoeConfig",
        model="Lfm2MoeForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "num_dense_layers": 1,
            "layer_types": ["conv", "full_attention", "conv"],
        },
        hand=sigmoid_with_block_bias("expert_bias"),
        gate="sigmoid_top_k",
        layers=2,
        biased=True,
    ),
    "afmoe": Family(
        config="AfmoeConfig",
        model="AfmoeForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "num_dense_layers": 1,
            "head_dim": 8,
            "sliding_window": 16,
        },
        hand=sigmoid_with_block_bias("expert_bias", "gate"),
        gate="sigmoid_top_k",
        layers=2,
        biased=True,
    ),
    "llama4": Family(
        config="Llama4TextConfig",
        model="Llama4ForCausalLM",
        options={
            "num_local_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "intermediate_size_mlp": 48,
            "head_dim": 8,
            "moe_layers": [0, 2],
            "attention_chunk_size": 64,
        },
        hand=plain_sigmoid,
        gate="sigmoid",
        layers=2,
    ),
    "longcat_flash": Family(
        config="LongcatFlashConfig",
        model="LongcatFlashForCausalLM",
        options={
            "num_layers": 2,
            "ffn_hidden_size": 48,
            "expert_ffn_hidden_size": 24,
            "n_routed_experts": EXPERTS - 2,
            "zero_expert_num": 2,
            "moe_topk": TOP_K,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "head_dim": 8,
            "num_key_value_heads": 4,
        },
        hand=longcat,
        gate="softmax",
        scale=6.0,
        layers=2,
        biased=True,
        drop=("num_hidden_layers", "intermediate_size"),
    ),
    "gemma4": Family(
        config="Gemma4TextConfig",
        model="Gemma4ForCausalLM",
        options={
            "enable_moe_block": True,
            "num_experts": EXPERTS,
            "top_k_experts": TOP_K,
            "moe_intermediate_size": 24,
            "head_dim": 8,
            "global_head_dim": 8,
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": VOCABULARY,
            "num_kv_shared_layers": 0,
            "sliding_window": 16,
        },
        hand=gemma4,
        gate="softmax_top_k",
    ),
    "cohere2_moe": Family(
        config="Cohere2MoeConfig",
        model="Cohere2MoeForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "head_dim": 8,
            "sliding_window": 16,
            "first_k_dense_replace": 0,
        },
        hand=softmax_over_all,
        gate="softmax_top_k",
    ),
    "exaone_moe": Family(
        config="ExaoneMoeConfig",
        model="ExaoneMoeForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "head_dim": 8,
            "sliding_window": 16,
        },
        hand=sigmoid_with_router_bias,
        gate="sigmoid_top_k",
        scale=2.5,
        layers=2,
        biased=True,
    ),
    "glm4_moe_lite": Family(
        config="Glm4MoeLiteConfig",
        model="Glm4MoeLiteForCausalLM",
        options={
            "n_routed_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
        },
        hand=sigmoid_with_router_bias,
        gate="sigmoid_top_k",
        scale=1.8,
        layers=2,
        biased=True,
    ),
    "hy_v3": Family(
        config="HYV3Config",
        model="HYV3ForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "head_dim": 8,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
        },
        hand=sigmoid_with_block_bias("e_score_correction_bias"),
        gate="sigmoid_top_k",
        scale=2.826,
        layers=2,
        biased=True,
    ),
    "nemotron_h": Family(
        config="NemotronHConfig",
        model="NemotronHForCausalLM",
        options={
            "layers_block_type": ["mamba", "moe", "attention", "moe"],
            "n_routed_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "moe_shared_expert_intermediate_size": 24,
            "moe_latent_size": 16,
            "head_dim": 8,
            "ssm_state_size": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "n_groups": 1,
            "use_mamba_kernels": False,
        },
        hand=sigmoid_with_router_bias,
        gate="sigmoid_top_k",
        layers=2,
        biased=True,
        drop=("num_hidden_layers",),
    ),
    "qwen3_5_moe": Family(
        config="Qwen3_5MoeTextConfig",
        model="Qwen3_5MoeForCausalLM",
        options={
            "num_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
            "head_dim": 8,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        },
        hand=softmax_over_all,
        gate="softmax_top_k",
        drop=("intermediate_size",),
    ),
    "switch_transformers": Family(
        config="SwitchTransformersConfig",
        model="SwitchTransformersForConditionalGeneration",
        options={
            "vocab_size": VOCABULARY,
            "d_model": HIDDEN,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 4,
            "num_decoder_layers": 4,
            "num_sparse_encoder_layers": 1,
            "num_sparse_decoder_layers": 2,
            "num_heads": 4,
            "num_experts": EXPERTS,
            "decoder_start_token_id": 0,
        },
        hand=softmax_of("classifier"),
        gate="softmax",
        layers=2,
        top_k=1,
        encoder_decoder=True,
        drop=tuple(COMMON),
    ),
    "nllb_moe": Family(
        config="NllbMoeConfig",
        model="NllbMoeForConditionalGeneration",
        options={
            "vocab_size": VOCABULARY,
            "d_model": HIDDEN,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_sparse_step": 2,
            "decoder_sparse_step": 1,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "num_experts": EXPERTS,
            "max_position_embeddings": 64,
        },
        hand=softmax_of("classifier"),
        gate="softmax_top_k",
        layers=2,
        encoder_decoder=True,
        drop=tuple(COMMON),
    ),
}


def build(name: str) -> transformers.PreTrainedModel:
    """Build a family's tiny model, its routers decisive: wide weights, and correction biases that are not zero."""
    family = FAMILIES[name]
    options = {key: value for key, value in COMMON.items() if key not in family.drop} | dict(family.options)
    torch.manual_seed(0)
    config = getattr(transformers, family.config)(**options)
    model: transformers.PreTrainedModel = getattr(transformers, family.model)(config)
    sharpen(model)
    return model.eval()


def sharpen(model: nn.Module) -> None:
    """Give routers weights of unit spread and biases of a tenth."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        parts = name.split(".")
        routing = {"gate", "router"} & set(parts)
        with torch.no_grad():
            if parts[-1] in ("e_score_correction_bias", "expert_bias"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
            elif routing and parts[-1] in ("weight", "bias") and "norm" not in name:
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
