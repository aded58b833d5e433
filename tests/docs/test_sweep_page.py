"""docs/sweep.md: its examples are sweeps, its program runs, and every key is there."""

import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from simulator.sweep.draw import SampleChoice
from simulator.sweep.file import SweepChoice, read_sweep
from simulator.sweep.points import sweep_points

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")


def _examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", _examples("yaml"))
def test_an_example_is_a_sweep(example: str, tmp_path: Path) -> None:
    """Over the demo's scenario, with points that can be run."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "traces").symlink_to(ROOT / "traces")
    path = tmp_path / "examples" / "mine.yaml"
    path.write_text(example, encoding="utf-8")
    sweep = read_sweep(path)
    assert len(sweep_points(sweep, sweep.base).points) >= 50


def test_the_example_that_ships() -> None:
    """It is what its first line says."""
    path = ROOT / "examples" / "sweep.yaml"
    sweep = read_sweep(path)
    assert f"{len(sweep_points(sweep, sweep.base).points)} points" in path.read_text(encoding="utf-8")


def test_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the examples; more cache, more hits."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "traces").symlink_to(ROOT / "traces")
    monkeypatch.chdir(tmp_path)
    (program,) = _examples("python")
    exec(compile(program, "docs/sweep.md", "exec"), {})
    (less, more) = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (less[0], more[0]) == ("0.1", "0.5")
    assert float(less[1]) < float(more[1])


def test_every_key_is_there() -> None:
    """As code."""
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", PAGE))))
    keys = {item.name for group in (SweepChoice, SampleChoice) for item in fields(group)}
    assert {*keys, "from", "to", "points", "step", "scale", "random", "latin_hypercube"} - named == set()
