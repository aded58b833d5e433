"""A Hugging Face config gives the spec that the library has, for every family."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardware_profiles.errors import InputError
from simulator.model.huggingface import FAMILIES, spec_from_config
from simulator.model.load import load_model
from simulator.model.spec import ModelSpec, attention_kind, moe_layers

Config = dict[str, object]


def _config(model_type: str, sizes: tuple[int, int, int, int, int], **rest: object) -> Config:
    """Return a config with the keys that all families share: hidden, layers, vocabulary, heads, KV heads."""
    hidden, num_layers, vocabulary, heads, kv_heads = sizes
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": num_layers,
        "vocab_size": vocabulary,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        **rest,
    }


_FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
_LATENT = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
_LLAMA4 = {
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "head_dim": 128,
    "num_experts_per_tok": 1,
    "attention_chunk_size": 8192,
}


def _llama4(**rest: object) -> Config:
    text = _config("llama4_text", (5120, 48, 202048, 40, 8), **_LLAMA4, **rest)
    return {"model_type": "llama4", "text_config": text, "vision_config": {"hidden_size": 1408}}


_HYBRID = _config(
    "qwen3_5_moe_text",
    (2048, 40, 248320, 16, 2),
    head_dim=256,
    num_experts=256,
    num_experts_per_tok=8,
    moe_intermediate_size=512,
    shared_expert_intermediate_size=512,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    linear_conv_kernel_dim=4,
    layer_types=[*["linear_attention"] * 3, "full_attention"] * 10,
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "mixtral": (
        "mixtral-8x7b",
        _config(
            "mixtral",
            (4096, 32, 32000, 32, 8),
            intermediate_size=14336,
            num_local_experts=8,
            num_experts_per_tok=2,
            sliding_window=None,
        ),
    ),
    "qwen2_moe": (
        "qwen1.5-moe-a2.7b",
        _config(
            "qwen2_moe",
            (2048, 24, 151936, 16, 16),
            intermediate_size=5632,
            moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632,
            num_experts=60,
            num_experts_per_tok=4,
            decoder_sparse_step=1,
            use_sliding_window=False,
            sliding_window=32768,
            max_window_layers=21,
        ),
    ),
    "qwen3_moe": (
        "qwen3-30b-a3b",
        _config(
            "qwen3_moe",
            (2048, 48, 151936, 32, 4),
            head_dim=128,
            intermediate_size=6144,
            moe_intermediate_size=768,
            num_experts=128,
            num_experts_per_tok=8,
            decoder_sparse_step=1,
            mlp_only_layers=[],
        ),
    ),
    "qwen3_5_moe": ("qwen3.5-35b-a3b", {"model_type": "qwen3_5_moe", "text_config": _HYBRID}),
    "qwen3_5_moe_text": ("qwen3.5-35b-a3b", _HYBRID),
    "olmoe": (
        "olmoe-1b-7b",
        _config("olmoe", (2048, 16, 50304, 16, 16), intermediate_size=1024, num_experts=64, num_experts_per_tok=8),
    ),
    "deepseek_v2": (
        "deepseek-v2-lite",
        _config(
            "deepseek_v2",
            (2048, 27, 102400, 16, 16),
            **_LATENT,
            q_lora_rank=None,
            intermediate_size=10944,
            moe_intermediate_size=1408,
            n_routed_experts=64,
            n_shared_experts=2,
            num_experts_per_tok=6,
            first_k_dense_replace=1,
            moe_layer_freq=1,
            n_group=1,
            topk_group=1,
        ),
    ),
    "deepseek_v3": (
        "deepseek-v3",
        _config(
            "deepseek_v3",
            (7168, 61, 129280, 128, 128),
            **_LATENT,
            q_lora_rank=1536,
            intermediate_size=18432,
            moe_intermediate_size=2048,
            n_routed_experts=256,
            n_shared_experts=1,
            num_experts_per_tok=8,
            first_k_dense_replace=3,
            n_group=8,
            topk_group=4,
            quantization_config=_FP8,
        ),
    ),
    "kimi_k2": (
        "kimi-k2",
        _config(
            "kimi_k2",
            (7168, 61, 163840, 64, 64),
            **_LATENT,
            q_lora_rank=1536,
            intermediate_size=18432,
            moe_intermediate_size=2048,
            n_routed_experts=384,
            n_shared_experts=1,
            num_experts_per_tok=8,
            first_k_dense_replace=1,
            n_group=1,
            topk_group=1,
            quantization_config=_FP8,
        ),
    ),
    "gpt_oss": (
        "gpt-oss-20b",
        _config(
            "gpt_oss",
            (2880, 24, 201088, 64, 8),
            head_dim=64,
            intermediate_size=2880,
            num_local_experts=32,
            num_experts_per_tok=4,
            sliding_window=128,
            max_position_embeddings=131072,
            attention_bias=True,
            layer_types=["sliding_attention", "full_attention"] * 12,
            quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
        ),
    ),
    "phimoe": (
        "phi-3.5-moe",
        _config(
            "phimoe",
            (4096, 32, 32064, 32, 8),
            intermediate_size=6400,
            num_local_experts=16,
            num_experts_per_tok=2,
            sliding_window=131072,
            max_position_embeddings=131072,
        ),
    ),
    "glm4_moe": (
        "glm-4.5-air",
        _config(
            "glm4_moe",
            (4096, 46, 151552, 96, 8),
            head_dim=128,
            intermediate_size=10944,
            moe_intermediate_size=1408,
            n_routed_experts=128,
            n_shared_experts=1,
            num_experts_per_tok=8,
            first_k_dense_replace=1,
            n_group=1,
            topk_group=1,
            attention_bias=True,
            use_qk_norm=False,
        ),
    ),
    "granitemoe": (
        "granite-3.1-1b-a400m",
        _config("granitemoe", (1024, 24, 49155, 16, 8), intermediate_size=512, num_local_experts=32)
        | {"num_experts_per_tok": 8, "tie_word_embeddings": True},
    ),
    "llama4": ("llama-4-scout", _llama4(num_local_experts=16, interleave_moe_layer_step=1)),
    "llama4_text": ("llama-4-maverick", _llama4(num_local_experts=128, interleave_moe_layer_step=2)),
}


def _read(folder: Path, config: object) -> ModelSpec:
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return spec_from_config(path)


def _shape(spec: ModelSpec) -> ModelSpec:
    """Return the spec without what it says about itself."""
    return replace(spec, name="x", released_as="x", source="x", unverified=(), limits=())


def test_every_family_has_a_config_here() -> None:
    """Qwen3-Next is not in the library; it has a test of its own."""
    assert set(CONFIGS) == set(FAMILIES) - {"qwen3_next"}


@pytest.mark.parametrize("family", CONFIGS)
def test_a_config_gives_what_the_library_has(family: str, tmp_path: Path) -> None:
    name, config = CONFIGS[family]
    expected = _shape(load_model(name))
    if family in ("qwen2_moe", "glm4_moe"):
        assert expected.attention_bias == "qkv"
    assert _shape(_read(tmp_path, config)) == expected


def test_a_folder_loads_and_gives_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "My-Mixtral"
    folder.mkdir()
    _read(folder, CONFIGS["mixtral"][1])
    spec = load_model(str(folder))
    assert spec.name == "My-Mixtral"
    assert spec.source == "config.json (mixtral)"
    assert load_model(str(folder / "config.json")) == spec


def test_qwen3_next_by_interval(tmp_path: Path) -> None:
    config = dict(_HYBRID) | {"model_type": "qwen3_next", "full_attention_interval": 4, "decoder_sparse_step": 1}
    del config["layer_types"]
    assert _shape(_read(tmp_path, config)) == _shape(load_model("qwen3.5-35b-a3b"))


def test_the_architecture_stands_in_for_the_model_type(tmp_path: Path) -> None:
    config = dict(CONFIGS["mixtral"][1]) | {"architectures": ["MixtralForCausalLM"]}
    del config["model_type"]
    assert _shape(_read(tmp_path, config)) == _shape(load_model("mixtral-8x7b"))


def test_qwen_mixes_dense_layers_in(tmp_path: Path) -> None:
    """Every second layer counted from 1 is MoE, but for those listed as dense."""
    config = CONFIGS["qwen3_moe"][1] | {"decoder_sparse_step": 2, "mlp_only_layers": [3], "num_hidden_layers": 8}
    spec = _read(tmp_path, config)
    assert moe_layers(spec) == (1, 5, 7)
    assert spec.dense_intermediate_size == 6144


def test_llama4_may_list_its_moe_layers(tmp_path: Path) -> None:
    spec = _read(tmp_path, _llama4(num_local_experts=16, moe_layers=[1, 2, 47]))
    assert moe_layers(spec) == (1, 2, 47)
    by_step = _read(
        tmp_path, _llama4(num_local_experts=128, interleave_moe_layer_step=2, moe_layers=[*range(1, 48, 2)])
    )
    assert by_step.dense_layers == ()
    assert _shape(by_step) == _shape(load_model("llama-4-maverick"))


def test_windows_where_they_restrict(tmp_path: Path) -> None:
    mixtral = CONFIGS["mixtral"][1] | {"sliding_window": 4096, "max_position_embeddings": 32768}
    assert _read(tmp_path, mixtral).attention_window == 4096
    qwen2 = CONFIGS["qwen2_moe"][1] | {"use_sliding_window": True, "max_window_layers": 3, "num_hidden_layers": 6}
    spec = _read(tmp_path, qwen2)
    kinds = [attention_kind(spec, layer) for layer in range(6)]
    assert kinds == ["sliding", "full", "sliding", "full", "full", "full"]


def test_awq_and_missing_dtype(tmp_path: Path) -> None:
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128}
    assert _read(tmp_path, CONFIGS["mixtral"][1] | {"quantization_config": awq}).expert_quantisation == "int4_g128"
    config = dict(CONFIGS["mixtral"][1])
    del config["torch_dtype"]
    unverified = _read(tmp_path, config).unverified
    assert unverified[0] == "expert_quantisation: the config names no dtype; bf16 is assumed"
    assert len(unverified) == 3


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"hidden_size": None}, "hidden_size: is missing"),
        ({"num_local_experts": None}, "num_experts or num_local_experts or n_routed_experts: is missing"),
        ({"hidden_size": "big"}, "hidden_size: 'big' should be a whole number"),
        ({"hidden_size": True}, "hidden_size: True should be a whole number"),
        ({"hidden_size": 4096.0}, "hidden_size: 4096.0 should be a whole number"),
        ({"vocab_size": -1}, "vocab_size: -1 should be a whole number"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: 'no' should be true or false"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers: 1000000000000 is more than the 10000 that moesim takes"),
        ({"torch_dtype": "float8"}, "dtype: 'float8' should be one of float32, bfloat16, float16"),
        (
            {"quantization_config": {"quant_method": "hqq"}},
            "quantization_config.quant_method: 'hqq' is not one that moesim reads (mxfp4, fp8, awq, gptq); remove "
            "quantization_config to take the weights as bf16, and name the format where the model is used",
        ),
        (
            {"quantization_config": {"quant_method": "fp8"}},
            "quantization_config.weight_block_size: None is not represented; only [128, 128] is",
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 3, "group_size": 64}},
            "quantization_config: gptq with 3 bits per 64 is not represented; only 4 per 128 is",
        ),
        ({"num_experts_per_tok": 9}, "top_k: 9 is more than num_experts, 8"),
        ({"num_key_value_heads": 0}, "num_kv_heads: 0: Input should be greater than 0"),
    ],
)
def test_faults_of_keys(change: Config, fault: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        _read(tmp_path, CONFIGS["mixtral"][1] | change)
    assert caught.value.faults == [fault]
    assert caught.value.source.endswith("config.json")


def test_all_missing_keys_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        _read(tmp_path, {"model_type": "deepseek_v3"})
    told = "\n".join(caught.value.faults)
    for key in ("hidden_size", "num_hidden_layers", "vocab_size", "kv_lora_rank", "moe_intermediate_size"):
        assert told.count(f"{key}: is missing") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", r"is not JSON \(line 1, column 2\)"),
        ("", "is not JSON"),
        ("[1]", "should hold a mapping of keys to values, but holds list"),
        ("[" * 100_000, "is not JSON that moesim reads"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON that moesim reads"),
        (
            '{"model_type": "llama"}',
            "model_type: 'llama' is not a family that moesim reads; known are mixtral, qwen2_moe",
        ),
        ('{"model_type": ["mixtral"]}', "is not a family that moesim reads"),
        ("{}", r"model_type: is missing; known are .*add the family in\s+simulator/model/huggingface.py"),
        ('{"text_config": 3}', "text_config: should be a mapping, but is int"),
        (" " * (1 << 20) + "{}", "a configuration has at most 1048576"),
    ],
)
def test_files_that_are_no_config(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        spec_from_config(path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_KEYS = sorted({key for _, config in CONFIGS.values() for key in config.get("text_config", config)})  # type: ignore[attr-defined]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(family=st.sampled_from(sorted(CONFIGS)), change=st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=3))
def test_any_value_gives_a_spec_or_an_input_error(family: str, change: Mapping[str, object], tmp_path: Path) -> None:
    config = dict(CONFIGS[family][1])
    inner = config.get("text_config")
    if isinstance(inner, dict):
        config["text_config"] = inner | dict(change)
    else:
        config |= change
    with suppress(InputError):
        assert _read(tmp_path, config).num_experts > 0
