"""A spec is validated once: every fault is told, with its key."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.errors import InputError
from simulator.model.spec import ModelSpec, attention_kind, build_spec, is_moe_layer, moe_layers

TINY: dict[str, object] = {
    "name": "tiny",
    "source": "made up for the tests",
    "hidden_size": 8,
    "num_layers": 4,
    "vocab_size": 10,
    "num_experts": 4,
    "top_k": 2,
    "expert_intermediate_size": 3,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 5,
}


def tiny(**changes: object) -> ModelSpec:
    """Build the small spec with some fields changed."""
    return build_spec(TINY | changes, "test")


def faults_of(**changes: object) -> list[str]:
    """Return the faults that a change of the small spec gives."""
    with pytest.raises(InputError) as caught:
        tiny(**changes)
    return caught.value.faults


def test_a_spec_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        tiny().top_k = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, (0, 1, 2, 3)),
        ({"first_dense_layers": 1, "dense_intermediate_size": 6}, (1, 2, 3)),
        ({"moe_layer_step": 2, "moe_layer_offset": 1, "dense_intermediate_size": 6}, (1, 3)),
        ({"moe_layer_step": 2, "dense_intermediate_size": 6}, (0, 2)),
        ({"dense_layers": [0, 2], "dense_intermediate_size": 6}, (1, 3)),
    ],
)
def test_which_layers_are_moe(changes: dict[str, object], layers: tuple[int, ...]) -> None:
    spec = tiny(**changes)
    assert moe_layers(spec) == layers
    assert [layer for layer in range(4) if is_moe_layer(spec, layer)] == list(layers)


def test_the_attention_pattern_repeats() -> None:
    spec = tiny(attention_pattern=["sliding", "sliding", "full"], attention_window=16)
    assert [attention_kind(spec, layer) for layer in range(4)] == ["sliding", "sliding", "full", "sliding"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"top_k": 5}, "top_k: 5 is more than num_experts, 4"),
        ({"top_k_groups": 2}, "top_k_groups: 2 is more than num_expert_groups, 1"),
        ({"num_expert_groups": 3}, "num_expert_groups: 3 does not divide num_experts, 4"),
        (
            {"num_shared_experts": 1},
            "shared_expert_intermediate_size: 0 goes with num_shared_experts 1; give both, or neither",
        ),
        ({"moe_layer_offset": 1}, "moe_layer_offset: 1 should be below moe_layer_step, 1"),
        ({"dense_layers": [9]}, "dense_layers: [9] goes beyond the last layer, 3"),
        ({"num_encoder_layers": 4}, "num_encoder_layers: 4 leaves no decoder; num_layers, 4, has both"),
        (
            {"first_dense_layers": 4},
            "no layer is a MoE layer; check first_dense_layers, moe_layer_step and dense_layers",
        ),
        ({"first_dense_layers": 1}, "dense_intermediate_size: is 0, but 1 layers are dense; give their width"),
        ({"head_dim": None}, "head_dim: is missing; give it, or kv_lora_rank for MLA"),
        ({"num_heads": 3, "num_kv_heads": 2}, "num_kv_heads: 2 does not divide num_heads, 3"),
        ({"attention_pattern": []}, "attention_pattern: is empty; write ['full'] for plain attention"),
        (
            {"attention_pattern": ["chunked"]},
            "attention_window: is missing; attention_pattern has chunked layers",
        ),
        (
            {"attention_window": 8},
            "attention_window: 8 has no layer to apply to; name them in attention_pattern",
        ),
        ({"unverified": ["bogus"]}, "unverified: 'bogus' should read 'field: why', with a field of the spec"),
    ],
)
def test_contradictions(changes: dict[str, object], fault: str) -> None:
    """Each contradiction is told in one line that names the key and what to do."""
    assert fault in faults_of(**changes)


def test_several_contradictions_are_told_at_once() -> None:
    assert len(faults_of(kv_lora_rank=4, top_k=9, attention_pattern=["linear"])) == 3 + 1 + 5


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"hidden_size": "8"}, "hidden_size: '8': Input should be a valid integer"),
        ({"hidden_size": 0}, "hidden_size: 0: Input should be greater than 0"),
        ({"num_layers": 10**9}, "num_layers: 1000000000: Input should be less than or equal to 10000"),
        ({"top_k": True}, "top_k: True: Input should be a valid integer"),
        ({"expert_matrices": 4}, "expert_matrices: 4: Input should be 2 or 3"),
        ({"num_expert": 4}, "num_expert: unknown key; did you mean num_experts?"),
        ({"zzz": 4}, "zzz: unknown key; remove it or check its spelling"),
        ({"name": "a\x1b[2Jb"}, "name: 'a\\x1b[2Jb': String should match pattern"),
    ],
)
def test_types_and_ranges(changes: dict[str, object], fault: str) -> None:
    (told,) = faults_of(**changes)
    assert told.startswith(fault)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match="top_k: is missing"):
        build_spec({key: value for key, value in TINY.items() if key != "top_k"}, "test")


def test_an_unknown_format_is_told_with_its_key() -> None:
    (fault,) = faults_of(rest_quantisation="bf61")
    assert fault.startswith("rest_quantisation: 'bf61' is not a quantisation that moesim knows; did you mean bf16?")


@given(
    num_layers=st.integers(1, 40),
    first=st.integers(0, 5),
    step=st.integers(1, 5),
    offset=st.integers(0, 5),
    dense=st.lists(st.integers(0, 45), max_size=4),
)
def test_moe_layers_are_sound_or_refused(num_layers: int, first: int, step: int, offset: int, dense: list[int]) -> None:
    """Whatever the layout, MoE layers are ascending, in range and not among the dense, or the spec is refused."""
    try:
        spec = tiny(
            num_layers=num_layers,
            first_dense_layers=first,
            moe_layer_step=step,
            moe_layer_offset=offset,
            dense_layers=dense,
            dense_intermediate_size=4,
        )
    except InputError:
        return
    layers = moe_layers(spec)
    assert layers == tuple(sorted(set(layers)))
    assert not set(layers) & set(dense)
    assert all(first <= layer < num_layers for layer in layers)
