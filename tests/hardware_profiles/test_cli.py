"""`moesim hardware`: tables for people, JSON for programs."""

import json

import pytest

from hardware_profiles.load import profile_names
from simulator.cli.hardware import app


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    app(list(arguments), result_action="return_value")
    return capsys.readouterr().out


def test_list_names_every_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Each machine has its line, with the bandwidth that its link is computed to reach."""
    listed = _run(capsys, "list")
    assert all(name in listed for name in profile_names())
    assert "56.1" in next(line for line in listed.splitlines() if "rtx-5090" in line)


def test_show_gives_value_kind_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure's line says what it is and how it is known."""
    shown = _run(capsys, "show", "t4")
    line = next(line for line in shown.splitlines() if "gpu.bandwidth " in line)
    assert all(word in line for word in ("320 GB/s", "datasheet", "NVIDIA T4"))


def test_show_json_is_in_base_units(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get values in base units with their unit's name."""
    shown = json.loads(_run(capsys, "show", "fixed-costs", "--json"))
    assert shown["figures"]["link.h2d.bandwidth"]["value"] == 25e9
    assert shown["figures"]["link.h2d.bandwidth"]["unit"] == "bytes/s"
    assert shown["figures"]["durations.expert"]["value"] == 1e-4
    assert len(shown["digest"]) == 64


def test_links_lists_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    """A preset's line has its raw and its effective rate."""
    line = next(line for line in _run(capsys, "links").splitlines() if "gen4x16" in line)
    assert all(word in line for word in ("128b/130b", "32", "25.43", "2 us", "published"))
