"""docs/scenario.md names every field, and its example is a valid scenario."""

import re
from dataclasses import fields
from pathlib import Path

from hardware_profiles.load import load_profile
from hardware_profiles.yaml_file import parse_yaml
from simulator.gpus.choice import GpusChoice
from simulator.scenario import (
    CacheChoice,
    FitChoice,
    HostCacheChoice,
    LookaheadChoice,
    LowPrecisionChoice,
    QuantisationChoice,
    ReplicasChoice,
    Scenario,
    TilesChoice,
    build_scenario,
)

GROUPS = {
    "cache": CacheChoice,
    "host_cache": HostCacheChoice,
    "quantisation": QuantisationChoice,
    "low_precision": LowPrecisionChoice,
    "tiles": TilesChoice,
    "lookahead": LookaheadChoice,
    "fit": FitChoice,
    "replicas": ReplicasChoice,
    "gpus": GpusChoice,
}
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scenario.md").read_text(encoding="utf-8")


def test_the_example_is_a_scenario() -> None:
    """It validates, its machine takes the overrides, and it sets nothing that the table lacks."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    values = parse_yaml(example, "docs/scenario.md")
    assert isinstance(values, dict)
    scenario = build_scenario(values, "docs/scenario.md")
    load_profile(scenario.hardware, {**scenario.hardware_set, "link.h2d.preset": scenario.pcie})


def test_every_field_is_there() -> None:
    """The table's first column has each field; policies and systems have pages of their own."""
    column = " ".join(re.findall(r"^\| (`[^|]*) \|", PAGE, flags=re.MULTILINE))
    named = set(re.findall(r"`\.?([a-z_.]+)`", column))
    for field in fields(Scenario):
        if field.name not in GROUPS:
            assert field.name in named, field.name
    for name, group in GROUPS.items():
        for field in fields(group):
            assert any(field.name in (full.split(".")[-1], full) for full in named), (name, field.name)
    for page in ("systems.md", "policies.md"):
        assert f"({page})" in PAGE
