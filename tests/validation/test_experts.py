"""An expert is one flat tensor that holds just its weights; what cannot be laid out so is refused by name."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from hardware_profiles.errors import InputError
from tests.capture.families import EXPERTS, HIDDEN, build
from tests.validation.plain_host import PlainHost
from traces.capture.layers import find_moe_layers
from validation.runtime.experts import HostExperts, layout_of


def experts_of(family: str) -> nn.Module:
    """Return the first experts module of a tiny model."""
    return find_moe_layers(build(family))[0].experts


def test_a_layout_has_no_gaps_and_the_largest_tensor_first() -> None:
    """gpt-oss: two matrices and two biases, transposed; offsets follow one another."""
    layout = layout_of(experts_of("gpt_oss"))
    assert [(one.name, one.shape, one.offset) for one in layout.tensors] == [
        ("gate_up_proj", (HIDDEN, 96), 0),
        ("down_proj", (48, HIDDEN), HIDDEN * 96),
        ("gate_up_proj_bias", (96,), HIDDEN * (96 + 48)),
        ("down_proj_bias", (HIDDEN,), HIDDEN * (96 + 48) + 96),
    ]
    assert layout.numel == HIDDEN * (96 + 48) + 96 + HIDDEN
    assert layout.num_bytes == 4 * layout.numel


@pytest.mark.parametrize(("family", "names"), [("nemotron_h", {"up_proj", "down_proj"}), ("gpt_oss", None)])
def test_a_layout_holds_all_parameters_of_the_module(family: str, names: set[str] | None) -> None:
    """Experts without a gate have two plain matrices; no parameter is left out."""
    experts = experts_of(family)
    layout = layout_of(experts)
    assert names is None or {one.name for one in layout.tensors} == names
    assert layout.numel * EXPERTS == sum(one.numel() for one in experts.parameters())


def test_views_are_the_memory_of_the_flat_tensor() -> None:
    """Writing an element of the flat tensor is seen in the tensor that it belongs to."""
    layout = layout_of(experts_of("mixtral"))
    flat = torch.zeros(layout.numel)
    views = layout.views(flat)
    flat[layout.tensors[1].offset] = 7
    assert views["down_proj"][0, 0] == 7
    assert views["gate_up_proj"].count_nonzero() == 0


def test_each_key_has_a_flat_tensor_of_its_own_with_the_weights() -> None:
    """Bank 1 of two is filled: its keys are E to 2E - 1, each one allocation, bit for bit the module's slices."""
    experts = experts_of("gpt_oss")
    host = PlainHost()
    held = HostExperts(layout_of(experts), num_banks=2, num_experts=EXPERTS, device=host)
    held.take(1, experts)
    assert host.num_tensors == EXPERTS
    assert held.num_bytes() == EXPERTS * held.layout.num_bytes
    for expert in range(EXPERTS):
        key = EXPERTS + expert
        assert held.flat(key).is_contiguous()
        assert held.flat(key).shape == (held.layout.numel,)
        assert not held.flat(key).isnan().any()
        for name, tensor in held.tensors(key).items():
            assert torch.equal(tensor, experts.get_parameter(name)[expert])
    with pytest.raises(AssertionError, match="bank 0"):
        held.flat(3)
    held.release(1)
    assert held.num_bytes() == 0


def test_quantised_weights_are_refused() -> None:
    """Integers are not computed with; the message says what to load."""
    experts = experts_of("mixtral")
    for name in ("gate_up_proj", "down_proj"):
        weights = experts.get_parameter(name).to(torch.int8)
        experts.register_parameter(name, nn.Parameter(weights, requires_grad=False))
    with pytest.raises(InputError, match=r"MixtralExperts: .*int8.*not quantised.*float32"):
        layout_of(experts)


def test_mixed_formats_are_refused() -> None:
    """One flat tensor has one dtype."""
    experts = experts_of("mixtral")
    experts.down_proj = nn.Parameter(experts.down_proj.to(torch.bfloat16))
    with pytest.raises(InputError, match=r"torch\.bfloat16, torch\.float32"):
        layout_of(experts)


def test_a_projection_that_is_not_one_per_expert_is_refused() -> None:
    """A down projection for fewer experts than the module has."""
    experts = experts_of("mixtral")
    experts.down_proj = nn.Parameter(experts.down_proj[:-1])
    with pytest.raises(InputError, match=r"MixtralExperts: down_proj has the shape \(7, 32, 48\)"):
        layout_of(experts)
    del experts.down_proj
    with pytest.raises(InputError, match="down_proj is missing"):
        layout_of(experts)
