"""The shapes that ship are those of the models they are named after, and of the trace they replay."""

from dataclasses import fields
from pathlib import Path

import pytest

from simulator.model.footprint import expert_bytes
from simulator.model.load import load_model
from simulator.model.quantisation import QUANTISATIONS
from simulator.model.spec import ModelSpec, moe_layers
from traces.errors import TraceError
from traces.format import open_trace

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "validation" / "shapes"
WIDE = {"hidden_size": 1024, "num_layers": 8, "num_experts": 32, "top_k": 2, "expert_intermediate_size": 1408}
NARROW = {"hidden_size": 768, "num_layers": 12, "num_experts": 16, "top_k": 4, "expert_intermediate_size": 1024}
PROVENANCE = ("name", "released_as", "source", "unverified", "limits")


def shape(name: str) -> ModelSpec:
    """Read a shape as a user would."""
    return load_model(str(SHAPES / f"{name}.json"))


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "mixtral-8x7b"])
def test_real_shapes_are_those_of_the_library(name: str) -> None:
    """Every field that a cost depends on; the library's are held to the published ones elsewhere."""
    found, expected = shape(name), load_model(name)
    for field in fields(ModelSpec):
        if field.name not in PROVENANCE:
            assert getattr(found, field.name) == getattr(expected, field.name), field.name
    assert found.name == expected.released_as


@pytest.mark.parametrize(("name", "wanted", "heads"), [("lab-wide", WIDE, 16), ("lab-narrow", NARROW, 12)])
def test_laboratory_shapes(name: str, wanted: dict[str, int], heads: int) -> None:
    """What the suites say of them; every layer routes, and no value is assumed."""
    spec = shape(name)
    assert {key: getattr(spec, key) for key in wanted} == wanted
    assert (spec.name, spec.num_heads, spec.num_kv_heads, spec.head_dim, spec.vocab_size) == (name, heads, 4, 64, 4096)
    assert len(moe_layers(spec)) == spec.num_layers
    assert not spec.unverified
    expert_elements = 3 * wanted["hidden_size"] * wanted["expert_intermediate_size"]
    assert expert_bytes(spec, QUANTISATIONS["fp32"]) == 4 * expert_elements


def test_the_wide_shape_replays_the_trace_that_ships() -> None:
    """Layers, experts and top-k are those of the trace; those of the narrow one are not."""
    trace = open_trace(ROOT / "traces" / "nano" / "trace.safetensors")

    def require(spec: ModelSpec) -> None:
        trace.require_model(
            num_layers=len(moe_layers(spec)), num_experts=spec.num_experts, top_k=spec.top_k, model=spec.name
        )

    require(shape("lab-wide"))
    with pytest.raises(TraceError, match="lab-narrow"):
        require(shape("lab-narrow"))


def test_all_shapes_are_known() -> None:
    """A file that is added here is added to these tests."""
    assert sorted(path.stem for path in SHAPES.glob("*.json")) == sorted(
        ["lab-wide", "lab-narrow", "qwen3-30b-a3b", "mixtral-8x7b"]
    )
