"""The studies run on the trace that ships, and their words are settings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.sweep.file import read_sweep
from simulator.sweep.points import sweep_points

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "examples" / "studies").glob("*.py"))
NUM_POINTS = {"cache_and_link": 20, "system_for_machine": 42, "predictor": 34}


def _run(study: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, study.relative_to(ROOT), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_studies_are_found() -> None:
    """Each is a program, a sweep and a command in the README."""
    readme = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert {study.stem for study in STUDIES} == set(NUM_POINTS)
    assert re.findall(r"^python (\S+)$", readme, flags=re.MULTILINE) == [
        f"examples/studies/{name}.py" for name in NUM_POINTS
    ]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.stem)
def test_a_study_has_its_points(study: Path) -> None:
    """All of which can be run."""
    sweep = read_sweep(study.with_suffix(".yaml"))
    assert len(sweep_points(sweep, sweep.base).points) == NUM_POINTS[study.stem]


@pytest.mark.slow
def test_more_cache_or_a_faster_link() -> None:
    """Down and to the right it gets faster."""
    pytest.importorskip("pandas")
    told = _run(ROOT / "examples" / "studies" / "cache_and_link.py", "max_tokens=60", "warmup_steps=10")
    rows = [line.split() for line in told.splitlines()]
    table = [[float(cell) for cell in row[1:]] for row in rows if re.fullmatch(r"0\.\d+", row[0] if row else "")][:5]
    assert [len(row) for row in table] == [4] * 5
    assert all(row == sorted(row, reverse=True) for row in table)
    assert all(list(column) == sorted(column, reverse=True) for column in zip(*table, strict=True))


@pytest.mark.slow
def test_which_system_for_which_machine() -> None:
    """The one with the lowest figure in the machine's column of the table."""
    pytest.importorskip("pandas")
    told = _run(ROOT / "examples" / "studies" / "system_for_machine.py", "max_tokens=60", "warmup_steps=10")
    best = dict(re.findall(r"^(\S+): (\S+), -?\d+%$", told, flags=re.MULTILINE))
    _, heading, *lines = told.splitlines()
    machines = heading.split()[1:]
    table = {words[0]: words[1:] for words in map(str.split, lines[1:8])}
    assert len(best) == len(machines) == 6
    for place, machine in enumerate(machines):
        tpot_ms = {system: float(cells[place]) for system, cells in table.items() if system != "oracle_prefetch"}
        assert len(tpot_ms) == 6
        assert tpot_ms[best[machine]] == min(tpot_ms.values())


@pytest.mark.slow
def test_how_good_a_predictor_must_be() -> None:
    """No prefetch comes first, and what is named as faster than it is."""
    pytest.importorskip("pandas")
    told = _run(ROOT / "examples" / "studies" / "predictor.py", "max_tokens=60", "warmup_steps=10")
    table = dict(re.findall(r"^(\S.*?) +[\d.]+ +([\d.]+)$", told, flags=re.MULTILINE))
    without = float(table.pop("none"))
    (named,) = re.findall(r"^50% resident: (\d+) of 16 are faster", told, flags=re.MULTILINE)
    faster = [name for name, tpot_ms in table.items() if float(tpot_ms) < without]
    assert told.rpartition("50% resident")[2].splitlines()[1:] == [f"  {name}" for name in faster]
    assert int(named) == len(faster)
