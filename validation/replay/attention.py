"""What the replay asks of a model's attention: plain, full, with keys and values per head."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from hardware_profiles.errors import InputError

_IMPLEMENTATIONS = ("sdpa", "eager")
_FULL = "full_attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """The keys (or values) of one token: `num_layers` times `num_heads` KV heads of `head_dim`, in `dtype`."""

    num_layers: int
    num_heads: int
    head_dim: int
    dtype: torch.dtype


def attention_shape(network: PreTrainedModel) -> AttentionShape:
    """Return the shape of a model's keys and values.

    Raises InputError, with all that is unsupported, for a model whose attention is not plain, full and causal.
    """
    config = network.config.get_text_config(decoder=True)
    faults = [*_unsupported(config), *_unsupported_kernel(network)]
    if faults:
        raise InputError(
            str(getattr(network.config, "_name_or_path", "")) or type(network).__name__,
            [f"{fault}; replay needs a decoder with full attention, such as Qwen3-MoE or Mixtral" for fault in faults],
        )
    num_heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return AttentionShape(
        num_layers=int(config.num_hidden_layers), num_heads=num_heads, head_dim=head_dim, dtype=network.dtype
    )


def _unsupported(config: PreTrainedConfig) -> list[str]:
    """Say what a config's attention does that rows of plain keys and values cannot hold."""
    faults = []
    layer_types = getattr(config, "layer_types", None)
    others = sorted(set(layer_types or ()) - {_FULL})
    if others:
        faults.append(f"has layers of {', '.join(others)} (layer_types)")
    elif layer_types is None and getattr(config, "sliding_window", None) is not None:
        faults.append(f"has sliding-window attention (sliding_window = {config.sliding_window} tokens)")
    elif layer_types is None and getattr(config, "attention_chunk_size", None) is not None:
        faults.append(f"has chunked attention (attention_chunk_size = {config.attention_chunk_size} tokens)")
    if getattr(config, "kv_lora_rank", None):
        faults.append(f"has multi-head latent attention (kv_lora_rank = {config.kv_lora_rank})")
    if getattr(config, "num_kv_shared_layers", None):
        faults.append(f"shares keys and values between layers (num_kv_shared_layers = {config.num_kv_shared_layers})")
    if getattr(config, "is_encoder_decoder", False):
        faults.append("is an encoder with a decoder (is_encoder_decoder)")
    if not getattr(config, "is_causal", True):
        faults.append("attends both ways (is_causal = false)")
    return faults


def _unsupported_kernel(network: PreTrainedModel) -> list[str]:
    kernel = getattr(network.config, "_attn_implementation", None)
    if kernel in _IMPLEMENTATIONS:
        return []
    return [f"runs attention with {kernel!r}, not with one of {', '.join(_IMPLEMENTATIONS)} (attn_implementation)"]
