"""What a mixture-of-experts transformer is, as far as its cost depends on it: shapes, not weights.

Limits: one width of expert, one top-k and one attention shape for the whole model. What a release adds beside its
transformer is left out: vision and audio towers, multi-token-prediction layers, adapters. How the gate scores and
normalises stands in a trace, not here.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import validate
from simulator.model.quantisation import parse_quantisation

Positive = Annotated[int, Field(gt=0, le=10**12, strict=True)]
Whole = Annotated[int, Field(ge=0, le=10**12, strict=True)]
Layers = Annotated[int, Field(gt=0, le=10_000, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", strict=True)]
MaybeText = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", strict=True)]
AttentionKind = Literal["full", "sliding", "chunked", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model; layers count from 0.

    `name` is that of its file. Provenance: `released_as` is the name of the checkpoint, `source` says where the figures
    come from, `unverified` names fields without such a source ("field: why"), `limits` what this spec cannot say about
    the model.

    `hidden_size` is the width of the residual stream; `num_layers` counts all layers; `vocab_size` is that of the
    vocabulary; `tied_embeddings`: input and output embedding are one matrix.

    MoE layers: from `first_dense_layers` on, each layer l with (l - `moe_layer_offset`) divisible by `moe_layer_step`,
    except `dense_layers`. `dense_intermediate_size` is the width of a dense layer's block. `num_experts` are the routed
    experts of a layer, of which a token gets `top_k`; `expert_intermediate_size` is the width of one. `expert_matrices`
    is 3 for gated experts (gate, up, down), 2 for plain ones. `num_shared_experts` are computed for every token;
    `shared_expert_intermediate_size` is the width of a layer's shared experts taken together; `shared_expert_gate`:
    they have a gate. `router_bias`: the router has a bias. `num_expert_groups` and `top_k_groups` are those of
    group-limited routing.

    Attention: `num_heads` query heads; `num_kv_heads` heads of keys and values; `head_dim`, or MLA when `kv_lora_rank` is
    set. `q_lora_rank` is that of a low-rank query projection; `qk_nope_head_dim`, `qk_rope_head_dim` and `v_head_dim` are
    widths of MLA's heads. `attention_pattern` repeats over the layers;
    `attention_window` is the window of sliding layers or the chunk of chunked ones, in tokens. `shared_key_value`: one
    tensor serves as key and value. `query_gate`: the query projection makes a gate of the output as well. `o_lora_rank`
    with `o_groups`: a low-rank output projection. `qk_norm` is the norm of queries and keys, by head or over all;
    `attention_bias` says which projections have biases; `attention_sinks`: each head has a learned sink.
    `linear_num_key_heads`, `linear_num_value_heads`, `linear_key_head_dim`, `linear_value_head_dim` and
    `linear_conv_kernel` are the shape of linear attention.

    Formats: `expert_quantisation` of routed experts, `rest_quantisation` of all other weights but the embeddings,
    `embedding_quantisation` of these; a name (bf16, mxfp4) or bits per weight ("4.25 bit").

    Layers below `num_encoder_layers` are an encoder; the others then attend to it as well.
    """

    name: Text
    source: Text
    released_as: MaybeText = ""
    unverified: tuple[Text, ...] = ()
    limits: tuple[Text, ...] = ()

    hidden_size: Positive
    num_layers: Layers
    vocab_size: Positive
    tied_embeddings: Flag = False
    num_encoder_layers: Whole = 0

    num_experts: Positive
    top_k: Positive
    expert_intermediate_size: Positive
    expert_matrices: Literal[2, 3] = 3
    num_shared_experts: Whole = 0
    shared_expert_intermediate_size: Whole = 0
    shared_expert_gate: Flag = False
    router_bias: Flag = False
    num_expert_groups: Positive = 1
    top_k_groups: Positive = 1
    dense_intermediate_size: Whole = 0
    first_dense_layers: Whole = 0
    moe_layer_step: Positive = 1
    moe_layer_offset: Whole = 0
    dense_layers: tuple[Whole, ...] = ()

    num_heads: Positive
    num_kv_heads: Positive
    head_dim: Positive | None = None
    q_lora_rank: Positive | None = None
    kv_lora_rank: Positive | None = None
    qk_nope_head_dim: Positive | None = None
    qk_rope_head_dim: Positive | None = None
    v_head_dim: Positive | None = None
    o_lora_rank: Positive | None = None
    o_groups: Positive = 1
    shared_key_value: Flag = False
    query_gate: Flag = False
    qk_norm: Literal["none", "head", "full"] = "none"
    attention_bias: Literal["none", "qkv", "qkvo"] = "none"
    attention_sinks: Flag = False
    attention_pattern: tuple[AttentionKind, ...] = ("full",)
    attention_window: Positive | None = None
    linear_num_key_heads: Positive | None = None
    linear_num_value_heads: Positive | None = None
    linear_key_head_dim: Positive | None = None
    linear_value_head_dim: Positive | None = None
    linear_conv_kernel: Positive | None = None

    expert_quantisation: Text = "bf16"
    rest_quantisation: Text = "bf16"
    embedding_quantisation: Text = "bf16"

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}


def moe_layers(spec: ModelSpec) -> tuple[int, ...]:
    """Return the indices of the MoE layers, ascending."""
    return tuple(layer for layer in range(spec.num_layers) if is_moe_layer(spec, layer))


def is_moe_layer(spec: ModelSpec, layer: int) -> bool:
    """Tell whether `layer` holds routed experts."""
    return (
        layer >= spec.first_dense_layers
        and layer % spec.moe_layer_step == spec.moe_layer_offset
        and layer not in spec.dense_layers
    )


def attention_kind(spec: ModelSpec, layer: int) -> AttentionKind:
    """Return how `layer` attends."""
    return spec.attention_pattern[layer % len(spec.attention_pattern)]


def linear_shape(spec: ModelSpec) -> tuple[int, int, int, int, int]:
    """Return (key heads, value heads, key head width, value head width, convolution kernel) of linear attention."""
    shape = (
        spec.linear_num_key_heads or 0,
        spec.linear_num_value_heads or 0,
        spec.linear_key_head_dim or 0,
        spec.linear_value_head_dim or 0,
        spec.linear_conv_kernel or 0,
    )
    assert all(shape), f"{spec.name} has linear attention without its shape"
    return shape


@cache
def _adapter() -> TypeAdapter[ModelSpec]:
    return TypeAdapter(ModelSpec)


def build_spec(values: Mapping[str, object], source: str | Path) -> ModelSpec:
    """Validate plain values as a spec.

    Raises InputError with one line per fault: types and ranges first; once those hold, whatever contradicts.
    """
    known = [field.name for field in fields(ModelSpec)]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise InputError(source, [_unknown_key(key, known) for key in unknown])
    spec = validate(_adapter(), values, source)
    contradictions = _contradictions(spec)
    if contradictions:
        raise InputError(source, contradictions)
    return spec


def _unknown_key(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else "remove it or check its spelling"
    return f"{key}: unknown key; {remedy}"


def _contradictions(spec: ModelSpec) -> list[str]:
    return [*_moe_faults(spec), *_attention_faults(spec), *_format_faults(spec)]


def _moe_faults(spec: ModelSpec) -> list[str]:
    faults = []
    if spec.top_k > spec.num_experts:
        faults.append(f"top_k: {spec.top_k} is more than num_experts, {spec.num_experts}")
    if spec.top_k_groups > spec.num_expert_groups:
        faults.append(f"top_k_groups: {spec.top_k_groups} is more than num_expert_groups, {spec.num_expert_groups}")
    if spec.num_experts % spec.num_expert_groups:
        faults.append(f"num_expert_groups: {spec.num_expert_groups} does not divide num_experts, {spec.num_experts}")
    if (spec.num_shared_experts == 0) != (spec.shared_expert_intermediate_size == 0):
        faults.append(
            f"shared_expert_intermediate_size: {spec.shared_expert_intermediate_size} goes with num_shared_experts "
            f"{spec.num_shared_experts}; give both, or neither"
        )
    if spec.moe_layer_offset >= spec.moe_layer_step:
        faults.append(
            f"moe_layer_offset: {spec.moe_layer_offset} should be below moe_layer_step, {spec.moe_layer_step}"
        )
    if any(layer >= spec.num_layers for layer in spec.dense_layers):
        faults.append(f"dense_layers: {list(spec.dense_layers)} goes beyond the last layer, {spec.num_layers - 1}")
    if spec.num_encoder_layers >= spec.num_layers:
        faults.append(
            f"num_encoder_layers: {spec.num_encoder_layers} leaves no decoder; num_layers, {spec.num_layers}, has both"
        )
    num_moe_layers = len(moe_layers(spec))
    if num_moe_layers == 0:
        faults.append("no layer is a MoE layer; check first_dense_layers, moe_layer_step and dense_layers")
    elif num_moe_layers < spec.num_layers and spec.dense_intermediate_size == 0:
        faults.append(
            f"dense_intermediate_size: is 0, but {spec.num_layers - num_moe_layers} layers are dense; give their width"
        )
    return faults


def _attention_faults(spec: ModelSpec) -> list[str]:
    faults = []
    if spec.kv_lora_rank is not None:
        absent = [key for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim") if getattr(spec, key) is None]
        faults += [f"{key}: is missing; kv_lora_rank makes the attention MLA, which has one" for key in absent]
    elif spec.head_dim is None:
        faults.append("head_dim: is missing; give it, or kv_lora_rank for MLA")
    if spec.num_heads % spec.num_kv_heads:
        faults.append(f"num_kv_heads: {spec.num_kv_heads} does not divide num_heads, {spec.num_heads}")
    if not spec.attention_pattern:
        faults.append("attention_pattern: is empty; write ['full'] for plain attention")
    windowed = {"sliding", "chunked"} & set(spec.attention_pattern)
    if windowed and spec.attention_window is None:
        faults.append(f"attention_window: is missing; attention_pattern has {', '.join(sorted(windowed))} layers")
    if not windowed and spec.attention_window is not None:
        faults.append(
            f"attention_window: {spec.attention_window} has no layer to apply to; name them in attention_pattern"
        )
    if "linear" in spec.attention_pattern:
        needed = [field.name for field in fields(spec) if field.name.startswith("linear_")]
        absent = [key for key in needed if getattr(spec, key) is None]
        faults += [f"{key}: is missing; attention_pattern has linear layers" for key in absent]
    return faults


def _format_faults(spec: ModelSpec) -> list[str]:
    faults = []
    for key in ("expert_quantisation", "rest_quantisation", "embedding_quantisation"):
        try:
            parse_quantisation(getattr(spec, key))
        except ValueError as error:
            faults.append(f"{key}: {error}")
    known = {field.name for field in fields(spec)}
    for entry in spec.unverified:
        key, _, reason = entry.partition(": ")
        if key not in known or not reason:
            faults.append(f"unverified: {entry!r} should read 'field: why', with a field of the spec")
    return faults
