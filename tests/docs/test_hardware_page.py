"""docs/hardware_profiles.md names every key, and its examples load and run."""

import re
from pathlib import Path

import pytest

from hardware_profiles.load import load_profile
from hardware_profiles.schema import places
from hardware_profiles.yaml_file import parse_yaml

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "hardware_profiles.md").read_text(encoding="utf-8")


def _examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_durations_load() -> None:
    """The example's durations go onto a machine that ships."""
    example, sized = (text for text in _examples("yaml") if text.startswith("durations:"))
    values = parse_yaml(example, "docs/hardware_profiles.md")
    assert isinstance(values, dict)
    durations = load_profile(
        "t4", {f"durations.{name}": value for name, value in values["durations"].items()}
    ).durations
    assert durations.expert is not None
    assert durations.expert.weights_bytes == 17.3e6
    others = parse_yaml(sized, "docs/hardware_profiles.md")
    assert isinstance(others, dict)
    with_others = load_profile("t4", {"durations.expert": others["durations"]["expert"]}).durations.expert
    assert with_others is not None
    assert [one.weights_bytes for one in with_others.other_weights] == [4.3e6]


def test_the_power_and_the_price_load() -> None:
    """The example goes onto a machine that ships."""
    (example,) = (text for text in _examples("yaml") if text.startswith("power:"))
    values = parse_yaml(example, "docs/hardware_profiles.md")
    assert isinstance(values, dict)
    profile = load_profile("rtx-4090", values)
    assert profile.power.rest is not None
    assert profile.power.rest.value == 60
    assert profile.price.purchase is not None


def test_the_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself, in an empty folder; what is written loads."""
    monkeypatch.chdir(tmp_path)
    for program in _examples("python"):
        exec(compile(program, "docs/hardware_profiles.md", "exec"), {})
    latency = load_profile("./mine.yaml").link.h2d.latency
    assert latency is not None
    assert (latency.text, latency.kind) == ("2.4 us", "measured")


def test_every_key_is_there() -> None:
    """By its full path, or by its last part within its group's table."""
    for path in places():
        last = path.rpartition(".")[2]
        assert re.search(rf"`{re.escape(path)}(\.<dtype>)?`|`{re.escape(last)}`", PAGE), path
