"""Parameters and bytes, by hand and by law."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.model import footprint
from simulator.model.load import load_model, model_names
from simulator.model.quantisation import QUANTISATIONS, Quantisation
from simulator.model.spec import moe_layers
from tests.model.test_spec import tiny

BF16 = QUANTISATIONS["bf16"]

SPECS = {name: load_model(name) for name in model_names()}


def test_a_tiny_model_by_hand() -> None:
    """hidden 8, 4 layers, 4 experts of width 3, 2 heads and 1 KV head of 5, vocabulary 10."""
    spec = tiny()
    assert footprint.params_per_expert(spec) == 3 * 8 * 3
    assert footprint.attention_params(spec, 0) == 8 * 10 + 2 * 8 * 5 + 10 * 8
    assert footprint.router_params(spec) == 8 * 4
    assert footprint.norm_params(spec, 0) == 16
    assert footprint.non_expert_layer_params(spec, 0) == 240 + 32 + 16
    assert footprint.non_expert_params(spec) == 4 * 288 + 2 * 80 + 8
    assert footprint.total_params(spec) == 1320 + 4 * 4 * 72
    assert footprint.active_params(spec) == 1320 + 4 * 2 * 72
    assert footprint.active_params(spec, input_embedding=False) == 1320 + 4 * 2 * 72 - 80
    assert footprint.expert_bytes(spec) == 144
    assert footprint.all_experts_bytes(spec) == 16 * 144
    assert footprint.non_expert_bytes(spec) == 2640
    assert footprint.expert_bytes(spec, QUANTISATIONS["mxfp4"]) == 39  # 38.25, up
    assert footprint.kv_bytes_per_token(spec, 0, 2) == 20


@pytest.mark.parametrize(
    ("changes", "num_params"),
    [
        ({"qk_norm": "head"}, 240 + 10),
        ({"qk_norm": "full"}, 240 + 15),
        ({"attention_bias": "qkv"}, 240 + 20),
        ({"attention_bias": "qkvo"}, 240 + 28),
        ({"attention_sinks": True}, 240 + 2),
        ({"query_gate": True}, 240 + 80),
        ({"shared_key_value": True}, 240 - 40),
        ({"q_lora_rank": 3}, 240 - 80 + 8 * 3 + 3 + 3 * 10),
        ({"o_lora_rank": 3, "o_groups": 2}, 240 - 80 + 10 * 3 + 2 * 3 * 8),
        ({"num_encoder_layers": 1}, 240),
    ],
)
def test_attention_by_hand(changes: dict[str, object], num_params: int) -> None:
    assert footprint.attention_params(tiny(**changes), 0) == num_params


def test_latent_attention_by_hand() -> None:
    """2 heads, latent 6, rotary 2, other 4, value 3; queries direct."""
    spec = tiny(kv_lora_rank=6, qk_rope_head_dim=2, qk_nope_head_dim=4, v_head_dim=3)
    assert footprint.attention_params(spec, 0) == 8 * 2 * 6 + 8 * 8 + 6 + 6 * 2 * 7 + 2 * 3 * 8
    assert footprint.kv_bytes_per_token(spec, 0, 2) == 16


def test_linear_attention_by_hand() -> None:
    """1 key head of 2, 3 value heads of 4, kernel 5; the state stands for the cache."""
    spec = tiny(
        attention_pattern=["linear", "full"],
        linear_num_key_heads=1,
        linear_num_value_heads=3,
        linear_key_head_dim=2,
        linear_value_head_dim=4,
        linear_conv_kernel=5,
    )
    assert footprint.attention_params(spec, 0) == 8 * (4 + 24 + 6) + 12 * 8 + 5 * 16 + 6 + 4
    assert footprint.kv_bytes_per_token(spec, 0, 2) == 0
    assert footprint.state_bytes(spec, 0, 2) == 2 * (3 * 2 * 4 + 5 * 16)
    assert footprint.attended_tokens(spec, 0, 1000) == 0
    assert footprint.state_bytes(spec, 1, 2) == 0
    assert footprint.kv_bytes_per_token(spec, 1, 2) == 20


def test_shared_experts_dense_layers_and_tied_embeddings_by_hand() -> None:
    spec = tiny(
        num_shared_experts=2,
        shared_expert_intermediate_size=6,
        shared_expert_gate=True,
        first_dense_layers=1,
        dense_intermediate_size=7,
        router_bias=True,
        tied_embeddings=True,
    )
    assert footprint.shared_expert_params(spec) == 3 * 8 * 6 + 8
    assert footprint.dense_mlp_params(spec) == 3 * 8 * 7
    assert footprint.router_params(spec) == 8 * 4 + 4
    assert footprint.lm_head_params(spec) == 0
    assert footprint.non_expert_layer_params(spec, 0) == 240 + 16 + 168
    assert footprint.non_expert_layer_params(spec, 1) == 240 + 16 + 36 + 152
    assert footprint.active_params(spec, input_embedding=False) == footprint.active_params(spec)


def test_a_decoder_layer_attends_to_the_encoder_as_well() -> None:
    spec = tiny(num_encoder_layers=2)
    assert [footprint.attention_params(spec, layer) for layer in range(4)] == [240, 240, 480, 480]
    assert [footprint.norm_params(spec, layer) for layer in range(4)] == [16, 16, 24, 24]
    assert [footprint.kv_bytes_per_token(spec, layer, 2) for layer in range(4)] == [0, 0, 20, 20]
    assert footprint.final_norm_params(spec) == 16


def test_plain_experts_have_two_matrices() -> None:
    assert footprint.params_per_expert(tiny(expert_matrices=2)) == 2 * 8 * 3


@pytest.mark.parametrize(
    ("name", "num_params"),
    [
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen3-30b-a3b", 30_532_122_624),
        ("deepseek-v2-lite", 15_706_484_224),
        ("olmoe-1b-7b", 6_919_161_856),
    ],
)
def test_totals_to_the_last_parameter(name: str, num_params: int) -> None:
    """The sums of the tensors' sizes, worked out from the shapes once and held; the published counts round to them."""
    assert footprint.total_params(SPECS[name]) == num_params


@pytest.mark.parametrize(
    ("name", "num_bytes"),
    [
        ("gpt-oss-20b", 13_219_200),
        ("gpt-oss-120b", 13_219_200),
        ("mixtral-8x7b", 352_321_536),
        ("deepseek-v3", 44_040_192 + 44_040_192 // 16384 * 4),
        ("switch-base-8", 9_437_184),
    ],
)
def test_bytes_of_an_expert_as_released(name: str, num_bytes: int) -> None:
    assert footprint.expert_bytes(SPECS[name]) == num_bytes


def test_releases_keep_tables_norms_and_routers_unquantised() -> None:
    """DeepSeek-V3 in FP8: 1.85 B of table and head, the routers and norms stay in bf16."""
    spec = SPECS["deepseek-v3"]
    unquantised = 2 * 129280 * 7168 + 61 * 2 * 7168 + 7168 + 58 * 7168 * 256
    rest = footprint.non_expert_params(spec) - unquantised
    assert footprint.non_expert_bytes(spec) == 2 * unquantised + -(-rest * (8 * 16384 + 32) // (8 * 16384))


def test_windows_and_chunks() -> None:
    """gpt-oss slides over 128 tokens in even layers; Llama 4 begins anew every 8192 but in every fourth layer."""
    gpt_oss, scout = SPECS["gpt-oss-20b"], SPECS["llama-4-scout"]
    assert [footprint.attended_tokens(gpt_oss, 0, context) for context in (0, 1, 128, 129)] == [0, 1, 128, 128]
    assert footprint.attended_tokens(gpt_oss, 1, 129) == 129
    assert [footprint.attended_tokens(scout, 0, context) for context in (8192, 8193, 16384)] == [8192, 1, 8192]
    assert footprint.attended_tokens(scout, 3, 16384) == 16384


@pytest.mark.parametrize(
    ("name", "num_bytes"),
    [
        ("mixtral-8x7b", 32 * 2 * 8 * 128 * 2),
        ("deepseek-v3", 61 * (512 + 64) * 2),
        ("qwen3.5-35b-a3b", 10 * 2 * 2 * 256 * 2),
        ("switch-base-8", 12 * 2 * 12 * 64 * 2),
    ],
)
def test_cache_of_a_token(name: str, num_bytes: int) -> None:
    spec = SPECS[name]
    assert sum(footprint.kv_bytes_per_token(spec, layer, 2) for layer in range(spec.num_layers)) == num_bytes


@given(num_params=st.integers(0, 10**12), quantisation=st.sampled_from(list(QUANTISATIONS.values())))
def test_bytes_are_rounded_up_once(num_params: int, quantisation: Quantisation) -> None:
    num_bytes = footprint.bytes_of(num_params, quantisation)
    assert 0 <= num_bytes - num_params * quantisation.bits_per_weight / 8 < 1


@given(
    name=st.sampled_from(sorted(SPECS)),
    context=st.integers(0, 1 << 20),
    bytes_per_value=st.sampled_from([1, 2, Fraction(1, 2)]),
)
def test_attention_looks_at_no_more_than_there_is(name: str, context: int, bytes_per_value: Fraction | int) -> None:
    spec = SPECS[name]
    for layer in range(spec.num_layers):
        assert 0 <= footprint.attended_tokens(spec, layer, context) <= context
        assert footprint.kv_bytes_per_token(spec, layer, bytes_per_value) >= 0


@pytest.mark.parametrize("name", sorted(SPECS))
def test_parts_add_up(name: str) -> None:
    """Total = the rest + experts; active lies between; one format for all of it counts every parameter once."""
    spec = SPECS[name]
    experts = len(moe_layers(spec)) * spec.num_experts * footprint.params_per_expert(spec)
    assert footprint.total_params(spec) == footprint.non_expert_params(spec) + experts
    assert footprint.non_expert_params(spec) < footprint.active_params(spec) <= footprint.total_params(spec)
    assert footprint.non_expert_bytes(spec, BF16) == 2 * footprint.non_expert_params(spec)
