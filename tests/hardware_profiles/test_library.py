"""The machines that ship: each loads, and each of its figures says how it is known."""

import pytest

from hardware_profiles.load import assumed_figures, digest, load_profile, profile_names, resolved_figures
from hardware_profiles.profile import Constant, Figure


def test_the_machines_that_ship() -> None:
    """The library holds these."""
    assert profile_names() == [
        "a100-40gb",
        "a100-80gb",
        "a5000",
        "a6000",
        "fixed-costs",
        "gh200",
        "h100",
        "h100-pcie",
        "h200",
        "jetson-agx-orin-64gb",
        "l4",
        "rtx-3060-12gb",
        "rtx-3090",
        "rtx-4090",
        "rtx-5090",
        "t4",
    ]


@pytest.mark.parametrize("name", profile_names())
def test_each_loads_and_is_plausible(name: str) -> None:
    """A shipped profile is named like its file, claims no measurement, and its figures lie where hardware's do."""
    profile = load_profile(name)
    assert profile.name == name
    figures = dict(resolved_figures(profile))
    assert len(figures) >= 19
    for path, known in figures.items():
        assert known.kind in ("datasheet", "published", "assumed"), path
        assert len(known.source) > 5, path
    assert "fp32" in profile.gpu.flops
    assert "fp32" in profile.cpu.flops
    gpu = profile.gpu
    assert gpu.memory_reserve.value < gpu.memory.value
    assert 0.4 <= gpu.bandwidth_efficiency.value <= 1
    assert 0.4 <= gpu.flops_efficiency.value <= 1
    assert profile.cpu.expert_bandwidth.value <= profile.host.bandwidth.value <= gpu.bandwidth.value
    if name not in ("gh200", "jetson-agx-orin-64gb"):
        assert figures["link.h2d.bandwidth"].value < profile.host.bandwidth.value  # type: ignore[union-attr]


@pytest.mark.parametrize("name", profile_names())
def test_what_machines_draw(name: str) -> None:
    """A busy resource draws a datasheet's figure, several times its idle power; no machine has a price that would be old."""
    profile = load_profile(name)
    for draw in (profile.power.gpu, profile.power.cpu):
        if draw.idle is not None and draw.busy is not None:
            assert draw.busy.kind == "datasheet"
            assert 0.1 * draw.busy.value <= draw.idle.value <= 0.35 * draw.busy.value
            assert draw.idle.kind == "assumed" or "arXiv" in draw.idle.source
    has_power = profile.power.gpu.busy is not None
    assert has_power == (name not in ("fixed-costs", "gh200", "jetson-agx-orin-64gb"))
    assert not [path for path, _ in resolved_figures(profile) if path.startswith("price.")]


@pytest.mark.parametrize("name", [name for name in profile_names() if name != "fixed-costs"])
def test_runtime_costs_are_zero_until_measured(name: str) -> None:
    """A runtime's own time is zero by default, and says so among the assumed figures."""
    assumed = dict(assumed_figures(load_profile(name)))
    for path in ("runtime.per_layer", "runtime.per_step"):
        known = assumed[path]
        assert isinstance(known, Figure)
        assert known.value == 0
        assert "measured" in known.source


def test_a_t4_has_no_bf16() -> None:
    """Turing's tensor cores know no bf16."""
    assert set(load_profile("t4").gpu.flops) == {"fp16", "fp32"}


def test_fixed_costs_are_round_constants_all_assumed() -> None:
    """Every duration of `fixed-costs` is the stated constant, and every figure is assumed."""
    profile = load_profile("fixed-costs")
    stated = {
        path.removeprefix("durations."): known.seconds
        for path, known in resolved_figures(profile)
        if isinstance(known, Constant)
    }
    assert stated == {"expert": 1e-4, "layer": 2e-4, "dense_layer": 1.5e-4, "step": 5e-5, "transfer": 1e-3}
    assert (profile.runtime.per_layer.value, profile.runtime.per_step.value) == (0, 0)
    assert assumed_figures(profile) == resolved_figures(profile)
    assert {known.source for _, known in resolved_figures(profile)} == {
        "stated, so that results can be checked by hand"
    }


def test_digests_tell_machines_apart_and_stay() -> None:
    """Loading twice gives the same digest, another machine or another figure another one."""
    digests = {digest(load_profile(name)) for name in profile_names()}
    assert len(digests) == len(profile_names())
    assert digest(load_profile("t4")) == digest(load_profile("t4"))
    faster = digest(load_profile("t4", {"link.h2d.bandwidth": "13 GB/s"}))
    assert faster != digest(load_profile("t4"))
    assert faster == digest(load_profile("t4", {"link.h2d.bandwidth": "13000 MB/s"}))
