"""Link presets: the formula against published copies, and what wins when a link is resolved."""

import pytest

from hardware_profiles.errors import InputError
from hardware_profiles.link_presets import link_presets, resolve_link
from hardware_profiles.profile import Figure, Link

_FIGURE = Figure(value=20e9, text="20 GB/s", kind="measured", source="bench")
_LATENCY = Figure(value=9e-6, text="9 us", kind="measured", source="bench")


@pytest.mark.parametrize(
    ("preset", "measured_gb_per_s"),
    [
        ("gen3x16", 12.4),  # bandwidthTest, GTX 1650 SUPER and P100 nodes
        ("gen3x8", 6.3),  # bandwidthTest, a T4 whose link behaves like 8 lanes
        ("gen4x16", 26.1),  # bandwidthTest, A100 SXM
        ("gen4x16", 24.81),  # NVIDIA developer forum 352186, A100-SXM4-80GB
        ("gen4x16", 25.13),  # NVIDIA/nvbandwidth issue 42, A100-SXM4-40GB
        ("gen4x16", 25.63),  # NVIDIA/nvbandwidth issue 15, mean of eight RTX 4090
        ("gen5x16", 56.36),  # tinygrad/open-gpu-kernel-modules issue 29, mean of eight RTX 5090
        ("gen5x16", 55.63),  # NVIDIA's nvbandwidth article
        ("nvlink-c2c-h2d", 346),  # NVIDIA/nvbandwidth issue 23, GH200
    ],
)
def test_within_five_percent_of_published_copies(preset: str, measured_gb_per_s: float) -> None:
    """A preset's bandwidth is what large pinned copies were published to reach, to 5 %."""
    assert link_presets()[preset].bandwidth.value == pytest.approx(measured_gb_per_s * 1e9, rel=0.05)


def test_latency_gives_what_a_megabyte_takes() -> None:
    """Latency and bandwidth together give the 12.1 GB/s that 1 MB reaches over PCIe 3.0 x16."""
    preset = link_presets()["gen3x16"]
    seconds = preset.latency.value + 1e6 / preset.bandwidth.value
    assert 1e6 / seconds == pytest.approx(12.1e9, rel=0.01)


def test_formula_by_hand() -> None:
    """PCIe 4.0 x8 worked out on paper: 8 * 16 GT/s / 8 * 128/130 * 256/276 * 0.87, to 0.01 GB/s."""
    assert link_presets()["gen4x8"].bandwidth.value == 12.71e9


def test_lanes_and_generations() -> None:
    """Bandwidth is proportional to lanes, rounding aside, and each generation of a width is faster than the one before."""
    speed = {name: preset.bandwidth.value for name, preset in link_presets().items()}
    for generation in (3, 4, 5, 6):
        assert speed[f"gen{generation}x16"] == pytest.approx(4 * speed[f"gen{generation}x4"], rel=2e-3)
        assert speed[f"gen{generation}x16"] == pytest.approx(2 * speed[f"gen{generation}x8"], rel=2e-3)
        if generation > 3:
            assert speed[f"gen{generation}x16"] > 1.8 * speed[f"gen{generation - 1}x16"]


def test_no_preset_claims_more_than_its_wire_and_each_says_how_it_is_known() -> None:
    """Nothing is faster than its raw rate; what was not fitted to a copy at that width is `assumed`."""
    for preset in link_presets().values():
        assert preset.bandwidth.value < preset.raw_bytes_per_s
        assert preset.bandwidth.source
        assert preset.latency.source
    published = {name for name, preset in link_presets().items() if preset.bandwidth.kind == "published"}
    assert published == {"gen3x16", "gen4x16", "gen5x16", "nvlink-c2c-h2d", "nvlink-c2c-d2h"}
    assert not any(preset.bandwidth.kind == "measured" for preset in link_presets().values())


def test_explicit_fields_win_over_the_preset() -> None:
    """What a link gives itself stands; the preset fills the rest; a chunk comes only from the link."""
    preset = link_presets()["gen4x16"]
    resolved = resolve_link(Link(preset="gen4x16", bandwidth=_FIGURE))
    assert (resolved.bandwidth, resolved.latency, resolved.chunk) == (_FIGURE, preset.latency, None)
    resolved = resolve_link(Link(preset="gen4x16", latency=_LATENCY))
    assert (resolved.bandwidth, resolved.latency) == (preset.bandwidth, _LATENCY)


def test_a_link_without_preset_and_latency_has_an_assumed_one() -> None:
    """A latency that nobody gave is zero, and stands among the assumed figures."""
    latency = resolve_link(Link(bandwidth=_FIGURE)).latency
    assert (latency.value, latency.kind) == (0.0, "assumed")


def test_unknown_preset_and_empty_link() -> None:
    """Both errors name the place and what to do."""
    with pytest.raises(InputError) as caught:
        resolve_link(Link(preset="gen4x61"), "link.h2d")
    assert str(caught.value).startswith(
        "link.h2d: 'gen4x61' is not a link preset; did you mean 'gen4x16'? known: gen4x16"
    )
    with pytest.raises(InputError, match="link: has neither a preset nor a bandwidth; give one of them"):
        resolve_link(Link())
