"""Read a Hugging Face `config.json` as a model spec.

One small function per family says which key means what; `FAMILIES` maps `model_type` to it. To add a family: write a
function that takes a `ConfigReader` and returns the fields of `ModelSpec` that differ from the common ones, and enter
it in `FAMILIES`. Keys follow the configuration classes of transformers 5.23, and those of older releases where renamed.

Limits: only decoder-only families; only text (a `text_config` is read, towers beside it are not); quantisation as the
file states it, one format for all routed experts and one for the rest.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import read_text
from simulator.model.spec import ModelSpec, build_spec

Fields = dict[str, object]


class ConfigReader:
    """Takes values out of a configuration by type and collects the faults, so that all are told at once.

    A key that is missing or null has the default. Where several keys are given they are names of the same thing.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values
        self.faults: list[str] = []

    def count(self, *keys: str, default: int | None = None) -> int:
        """Return a whole number; a fault, and 1, where there is none."""
        number = self.optional_count(*keys)
        if number is None:
            if default is not None:
                return default
            if not any(fault.startswith(f"{key}: ") for fault in self.faults for key in keys):
                self.faults.append(f"{' or '.join(keys)}: is missing")
            return 1
        return number

    def optional_count(self, *keys: str) -> int | None:
        """Return a whole number, or None."""
        key, value = self._find(keys)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        self._wrong(key, value, "a whole number")
        return None

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        _, value = self._find((key,))
        if isinstance(value, bool):
            return value
        if value is not None:
            self._wrong(key, value, "true or false")
        return default

    def indices(self, key: str) -> list[int] | None:
        """Return a list of whole numbers, or None."""
        _, value = self._find((key,))
        if isinstance(value, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return value
        if value is not None:
            self._wrong(key, value, "a list of whole numbers")
        return None

    def words(self, key: str, known: Mapping[str, str]) -> list[str] | None:
        """Return a list of strings, each translated by `known`, or None."""
        _, value = self._find((key,))
        if isinstance(value, list) and all(isinstance(item, str) and item in known for item in value):
            return [known[item] for item in value]
        if value is not None:
            self._wrong(key, value, f"a list of {', '.join(known)}")
        return None

    def mapping(self, key: str) -> Mapping[str, object]:
        """Return a mapping, empty where there is none."""
        _, value = self._find((key,))
        if isinstance(value, dict):
            return value
        if value is not None:
            self._wrong(key, value, "a mapping")
        return {}

    def _find(self, keys: tuple[str, ...]) -> tuple[str, object]:
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        return keys[0], None

    def _wrong(self, key: str, value: object, expected: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        self.faults.append(f"{key}: {shown} should be {expected}")


def spec_from_config(path: Path) -> ModelSpec:
    """Read the `config.json` at `path`.

    Raises InputError, naming the file, for what is not JSON, for a family that is not known, and for every key that is
    missing or has the wrong type.
    """
    outer = _read_json(path)
    values = _text_values(outer, path)
    family = _family(values, path)
    reader = ConfigReader(values)
    spec_fields = _common(reader) | family(reader) | _formats(reader)
    if reader.faults:
        raise InputError(path, list(dict.fromkeys(reader.faults)))
    name = outer.get("_name_or_path")
    name = name if isinstance(name, str) and name else (path.resolve().parent.name or path.stem)
    provenance = {"name": name, "released_as": name, "source": f"config.json ({values['model_type']})"}
    return build_spec(provenance | spec_fields, path)


def _read_json(path: Path) -> dict[str, object]:
    text = read_text(path)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(path, f"is not JSON (line {error.lineno}, column {error.colno}): {error.msg}") from None
    except (ValueError, RecursionError):
        raise InputError(path, "is not JSON that moesim reads: too deep, or a number too long") from None
    if not isinstance(values, dict):
        raise InputError(path, f"should hold a mapping of keys to values, but holds {type(values).__name__}")
    return values


_INHERITED = frozenset(
    {"model_type", "architectures", "dtype", "torch_dtype", "quantization_config", "tie_word_embeddings"}
)


def _text_values(outer: dict[str, object], path: Path) -> dict[str, object]:
    """Return the language model's values: a nested `text_config` over what the file says for all of it."""
    inner = outer.get("text_config")
    if inner is None:
        return outer
    if not isinstance(inner, dict):
        raise InputError(path, f"text_config: should be a mapping, but is {type(inner).__name__}")
    inherited = {key: value for key, value in outer.items() if key in _INHERITED}
    return inherited | inner


def _family(values: dict[str, object], path: Path) -> Callable[[ConfigReader], Fields]:
    model_type = values.get("model_type")
    if model_type is None:
        architectures = values.get("architectures")
        named = architectures if isinstance(architectures, list) else []
        model_type = next(
            (_ARCHITECTURES[item] for item in named if isinstance(item, str) and item in _ARCHITECTURES), None
        )
        values["model_type"] = model_type
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    what = "is missing" if model_type is None else f"{model_type!r} is not a family that moesim reads"
    raise InputError(
        path,
        f"model_type: {what}; known are {', '.join(FAMILIES)}. Write the model as YAML instead, or add the family in "
        "simulator/model/huggingface.py (docs/models.md)",
    )


def _common(reader: ConfigReader) -> Fields:
    num_heads = reader.count("num_attention_heads")
    return {
        "hidden_size": reader.count("hidden_size"),
        "num_layers": _num_layers(reader),
        "vocab_size": reader.count("vocab_size"),
        "tied_embeddings": reader.flag("tie_word_embeddings", default=False),
        "num_experts": reader.count("num_experts", "num_local_experts", "n_routed_experts"),
        "top_k": reader.count("num_experts_per_tok"),
        "num_heads": num_heads,
        "num_kv_heads": reader.count("num_key_value_heads", default=num_heads),
    }


_MAX_LAYERS = 10_000


def _num_layers(reader: ConfigReader) -> int:
    """Return the number of layers, bounded: lists as long are made of it."""
    num_layers = reader.count("num_hidden_layers")
    if num_layers > _MAX_LAYERS:
        reader.faults.append(f"num_hidden_layers: {num_layers} is more than the {_MAX_LAYERS} that moesim takes")
        return 1
    return num_layers


def _head_dim(reader: ConfigReader) -> int:
    """Return `head_dim`, or hidden size / heads where the file leaves it out, as transformers does."""
    return reader.optional_count("head_dim") or reader.count("hidden_size") // max(
        1, reader.count("num_attention_heads")
    )


def _window(reader: ConfigReader, pattern: list[str]) -> Fields:
    """Return the window and where it applies; a window as long as the longest context restricts nothing."""
    window = reader.optional_count("sliding_window")
    longest = reader.optional_count("max_position_embeddings")
    if not window or (longest is not None and window >= longest) or "sliding" not in pattern:
        return {}
    return {"attention_pattern": _shortest_period(pattern), "attention_window": window}


def _shortest_period(kinds: list[str]) -> list[str]:
    """Return the shortest beginning of `kinds` that, repeated, gives all of it."""
    for period in range(1, len(kinds)):
        if all(kind == kinds[layer % period] for layer, kind in enumerate(kinds)):
            return kinds[:period]
    return kinds


def _bias(reader: ConfigReader, key: str, where: str) -> Fields:
    return {"attention_bias": where if reader.flag(key, default=False) else "none"}


def _mixtral(reader: ConfigReader) -> Fields:
    return {
        "expert_intermediate_size": reader.count("intermediate_size"),
        "head_dim": _head_dim(reader),
        **_window(reader, ["sliding"]),
    }


def _phimoe(reader: ConfigReader) -> Fields:
    return _mixtral(reader) | _bias(reader, "attention_bias", "qkvo")


def _granitemoe(reader: ConfigReader) -> Fields:
    return _mixtral(reader) | _bias(reader, "attention_bias", "qkvo")


def _olmoe(reader: ConfigReader) -> Fields:
    return _mixtral(reader) | _bias(reader, "attention_bias", "qkvo") | {"qk_norm": "full"}


def _qwen_layers(reader: ConfigReader) -> Fields:
    """Return which layers are MoE: every `decoder_sparse_step`-th but for `mlp_only_layers`."""
    step = reader.count("decoder_sparse_step", default=1)
    dense = sorted(set(reader.indices("mlp_only_layers") or []))
    has_dense = bool(dense) or step > 1
    return {
        "expert_intermediate_size": reader.count("moe_intermediate_size"),
        "moe_layer_step": step,
        "moe_layer_offset": max(0, step - 1),
        "dense_layers": tuple(dense),
        "dense_intermediate_size": reader.count("intermediate_size") if has_dense else 0,
    }


def _qwen_shared_expert(reader: ConfigReader) -> Fields:
    """Return the one gated MLP of Qwen's shared experts; how many experts wide it is follows from the widths."""
    width = reader.count("shared_expert_intermediate_size")
    expert_width = max(1, reader.count("moe_intermediate_size"))
    return {
        "num_shared_experts": max(1, width // expert_width) if width else 0,
        "shared_expert_intermediate_size": width,
        "shared_expert_gate": width > 0,
    }


def _qwen2_moe(reader: ConfigReader) -> Fields:
    """Qwen's second generation has biases on queries, keys and values, and windows only where switched on."""
    windows: Fields = {}
    if reader.flag("use_sliding_window", default=False):
        last = reader.count("max_window_layers", default=28)
        alternating = ["sliding" if layer % 2 == 0 and layer < last else "full" for layer in range(_num_layers(reader))]
        windows = _window(reader, reader.words("layer_types", _LAYER_TYPES) or alternating)
    bias = "qkv" if reader.flag("qkv_bias", default=True) else "none"
    return {
        "head_dim": _head_dim(reader),
        "attention_bias": bias,
        **windows,
        **_qwen_layers(reader),
        **_qwen_shared_expert(reader),
    }


def _qwen3_moe(reader: ConfigReader) -> Fields:
    windows = _window(reader, ["sliding"]) if reader.flag("use_sliding_window", default=False) else {}
    return {
        "head_dim": _head_dim(reader),
        "qk_norm": "head",
        **_bias(reader, "attention_bias", "qkvo"),
        **windows,
        **_qwen_layers(reader),
    }


def _qwen_hybrid(reader: ConfigReader) -> Fields:
    """Linear attention but for every `full_attention_interval`-th layer; full layers gate their output."""
    num_layers = _num_layers(reader)
    interval = max(1, reader.count("full_attention_interval", default=4))
    by_interval = ["full" if (layer + 1) % interval == 0 else "linear" for layer in range(num_layers)]
    kinds = reader.words("layer_types", _LAYER_TYPES) or by_interval
    return {
        "head_dim": _head_dim(reader),
        "qk_norm": "head",
        "query_gate": True,
        "attention_pattern": _shortest_period(kinds),
        **_bias(reader, "attention_bias", "qkvo"),
        "linear_num_key_heads": reader.count("linear_num_key_heads"),
        "linear_num_value_heads": reader.count("linear_num_value_heads"),
        "linear_key_head_dim": reader.count("linear_key_head_dim"),
        "linear_value_head_dim": reader.count("linear_value_head_dim"),
        "linear_conv_kernel": reader.count("linear_conv_kernel_dim"),
        **_qwen_layers(reader),
        **_qwen_shared_expert(reader),
    }


def _dense_start(reader: ConfigReader) -> Fields:
    """Return the experts of families whose first layers are dense and whose shared experts are as wide as routed."""
    width, num_shared = reader.count("moe_intermediate_size"), reader.count("n_shared_experts", default=0)
    first_dense = reader.count("first_k_dense_replace", default=0)
    return {
        "expert_intermediate_size": width,
        "num_shared_experts": num_shared,
        "shared_expert_intermediate_size": num_shared * width,
        "num_expert_groups": reader.count("n_group", default=1),
        "top_k_groups": reader.count("topk_group", default=1),
        "first_dense_layers": first_dense,
        "dense_intermediate_size": reader.count("intermediate_size") if first_dense else 0,
    }


def _deepseek(reader: ConfigReader) -> Fields:
    step = reader.count("moe_layer_freq", default=1)
    if step != 1:
        reader.faults.append(f"moe_layer_freq: {step} is not represented; only 1 is")
    return {
        "kv_lora_rank": reader.count("kv_lora_rank"),
        "q_lora_rank": reader.optional_count("q_lora_rank"),
        "qk_nope_head_dim": reader.count("qk_nope_head_dim"),
        "qk_rope_head_dim": reader.count("qk_rope_head_dim"),
        "v_head_dim": reader.count("v_head_dim"),
        **_dense_start(reader),
    }


def _glm4_moe(reader: ConfigReader) -> Fields:
    return {
        "head_dim": _head_dim(reader),
        "qk_norm": "head" if reader.flag("use_qk_norm", default=False) else "none",
        **_bias(reader, "attention_bias", "qkv"),
        **_dense_start(reader),
    }


def _gpt_oss(reader: ConfigReader) -> Fields:
    """Windows on alternate layers, sinks, and biases on attention and router."""
    alternating = ["full" if layer % 2 else "sliding" for layer in range(_num_layers(reader))]
    return {
        "expert_intermediate_size": reader.count("intermediate_size"),
        "head_dim": _head_dim(reader),
        "router_bias": True,
        "attention_bias": "qkvo" if reader.flag("attention_bias", default=True) else "none",
        "attention_sinks": True,
        **_window(reader, reader.words("layer_types", _LAYER_TYPES) or alternating),
    }


def _llama4(reader: ConfigReader) -> Fields:
    """One shared expert per MoE layer; chunked attention on the layers with rotary positions."""
    num_layers, width = _num_layers(reader), reader.count("intermediate_size")
    step = max(1, reader.count("interleave_moe_layer_step", default=1))
    listed = reader.indices("moe_layers")
    every_step = list(range(step - 1, num_layers, step))
    if listed is None or listed == every_step:
        layout: Fields = {"moe_layer_step": step, "moe_layer_offset": step - 1}
    else:
        layout = {"dense_layers": tuple(layer for layer in range(num_layers) if layer not in listed)}
    rotary = reader.indices("no_rope_layers")
    interval = max(1, reader.count("no_rope_layer_interval", default=4))
    rotary = rotary or [int((layer + 1) % interval != 0) for layer in range(num_layers)]
    by_rotary = ["chunked" if flag else "full" for flag in rotary[:num_layers]]
    chunk = reader.optional_count("attention_chunk_size")
    kinds = reader.words("layer_types", _LAYER_TYPES) or by_rotary
    attention: Fields = {}
    if chunk and "chunked" in kinds:
        attention = {"attention_pattern": _shortest_period(kinds), "attention_window": chunk}
    return {
        "expert_intermediate_size": width,
        "num_shared_experts": 1,
        "shared_expert_intermediate_size": width,
        "dense_intermediate_size": reader.count("intermediate_size_mlp"),
        "head_dim": _head_dim(reader),
        **_bias(reader, "attention_bias", "qkvo"),
        **layout,
        **attention,
    }


_LAYER_TYPES = {
    "full_attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
}

FAMILIES: dict[str, Callable[[ConfigReader], Fields]] = {
    "mixtral": _mixtral,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "qwen3_next": _qwen_hybrid,
    "qwen3_5_moe": _qwen_hybrid,
    "qwen3_5_moe_text": _qwen_hybrid,
    "olmoe": _olmoe,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "kimi_k2": _deepseek,
    "gpt_oss": _gpt_oss,
    "phimoe": _phimoe,
    "glm4_moe": _glm4_moe,
    "granitemoe": _granitemoe,
    "llama4": _llama4,
    "llama4_text": _llama4,
}

_ARCHITECTURES = {
    "MixtralForCausalLM": "mixtral",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "Qwen3NextForCausalLM": "qwen3_next",
    "Qwen3_5MoeForConditionalGeneration": "qwen3_5_moe",
    "OlmoeForCausalLM": "olmoe",
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "GptOssForCausalLM": "gpt_oss",
    "PhimoeForCausalLM": "phimoe",
    "PhiMoEForCausalLM": "phimoe",
    "Glm4MoeForCausalLM": "glm4_moe",
    "GraniteMoeForCausalLM": "granitemoe",
    "Llama4ForConditionalGeneration": "llama4",
    "Llama4ForCausalLM": "llama4_text",
}

_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_DTYPE_UNKNOWN = "{}: the config names no dtype; bf16 is assumed"


def _formats(reader: ConfigReader) -> Fields:
    """Return the formats of experts, rest and embeddings: those of `quantization_config` over the dtype."""
    named = reader.values.get("dtype", reader.values.get("torch_dtype"))
    dtype = _DTYPES.get(named, "") if isinstance(named, str) else ""
    if named is not None and not dtype:
        reader.faults.append(f"dtype: {named!r} should be one of {', '.join(_DTYPES)}")
    base = dtype or "bf16"
    quantised = _quantised_formats(reader, reader.mapping("quantization_config"), base)
    found: Fields = {"expert_quantisation": base, "rest_quantisation": base, "embedding_quantisation": base} | quantised
    if named is None:
        found["unverified"] = tuple(
            _DTYPE_UNKNOWN.format(key) for key in found if key.endswith("quantisation") and key not in quantised
        )
    return found


def _quantised_formats(reader: ConfigReader, entry: Mapping[str, object], base: str) -> Fields:
    if not entry:
        return {}
    method = entry.get("quant_method")
    if method == "mxfp4":
        return {"expert_quantisation": "mxfp4"}
    if method == "fp8":
        block = entry.get("weight_block_size")
        if block == [128, 128]:
            return {"expert_quantisation": "fp8", "rest_quantisation": "fp8"}
        reader.faults.append(f"quantization_config.weight_block_size: {block!r} is not represented; only [128, 128] is")
        return {}
    if method in ("awq", "gptq"):
        bits, group = entry.get("bits"), entry.get("group_size")
        if (bits, group) == (4, 128):
            return {"expert_quantisation": "int4_g128", "rest_quantisation": "int4_g128"}
        reader.faults.append(
            f"quantization_config: {method} with {bits!r} bits per {group!r} is not represented; only 4 per 128 is"
        )
        return {}
    reader.faults.append(
        f"quantization_config.quant_method: {method!r} is not one that moesim reads (mxfp4, fp8, awq, gptq); remove "
        f"quantization_config to take the weights as {base}, and name the format where the model is used"
    )
    return {}
