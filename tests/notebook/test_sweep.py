"""`simulator.sweep`: points, rows and what a notebook shows."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import simulator
from hardware_profiles.errors import InputError
from simulator.cli import app
from simulator.explorer import explorer_page
from simulator.notebook.swept import Swept
from simulator.points.point import PointResult
from simulator.scenario import read_scenario

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo.yaml"
AXES = {"cache.frac": [0.25, 0.5], "eviction": ["lru", {"name": "lfu"}]}


@pytest.fixture(scope="module")
def swept() -> Swept:
    return simulator.sweep(DEMO, AXES, max_tokens=20)


def test_rows_are_those_of_the_command(swept: Swept, tmp_path: Path) -> None:
    """As `moesim sweep` writes them, but for the command that runs a row, which says the same otherwise."""
    values = {"scenario": read_scenario(DEMO) | {"max_tokens": 20}, "axes": AXES}
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    app(["sweep", str(file), "--out", str(tmp_path / "out"), "--jobs", "1"], result_action="return_value")
    written = json.loads((tmp_path / "out" / "points.json").read_text(encoding="utf-8"))["rows"]
    assert [{**row, "command": ""} for row in written] == [{**row, "command": ""} for row in swept.rows]
    assert [{**row, "command": ""} for row in simulator.sweep(file).rows] == [{**row, "command": ""} for row in written]


def test_a_rows_command_runs_it(
    swept: Swept, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And prints the same figures."""
    monkeypatch.chdir(ROOT)
    row = swept.rows[3]
    words = shlex.split(str(row["command"]))
    assert words[:2] == ["moesim", "run"]
    app([*words[1:], "--json"], result_action="return_value")
    assert json.loads(capsys.readouterr().out)["hits"] == row["hits"]


def test_a_point_is_a_run(swept: Swept) -> None:
    """The same figures as by itself."""
    alone = simulator.run(DEMO, max_tokens=20, eviction="lfu", **{"cache.frac": 0.5})
    assert swept.rows[3]["hits"] == alone.summary["hits"]
    assert swept.rows[3]["throughput_tokens_per_s"] == alone.summary["throughput_tokens_per_s"]


def test_a_store_and_several_processes(swept: Swept, tmp_path: Path) -> None:
    """Give the same rows; the second time nothing is run."""
    told: list[PointResult] = []
    for _ in range(2):
        again = simulator.sweep(DEMO, AXES, max_tokens=20, jobs=2, store=tmp_path / "store", progress=told.append)
        assert again.rows == swept.rows
    assert [result.is_reused for result in told] == [False] * 4 + [True] * 4


def test_all_that_a_sweep_file_has() -> None:
    """Constraints leave points out, groups go together, metrics choose columns, a sample draws."""
    small = simulator.sweep(
        DEMO,
        {"cache.frac": [0.25, 0.5]},
        zipped=[{"batch": [1, 2], "max_tokens": [5, 10]}],
        constraints=["cache.frac * batch < 1"],
        metrics=["hit*"],
    )
    assert [(row["cache.frac"], row["batch"], row["max_tokens"]) for row in small.rows] == [
        (0.25, 1, 5),
        (0.25, 2, 10),
        (0.5, 1, 5),
    ]
    assert {"hits", "hit_frac"} == set(small.rows[0]) - {
        *("point", "status", "reason", "warnings", "key", "command", "cache.frac", "batch", "max_tokens")
    }
    drawn = simulator.sweep(
        DEMO, {"cache.frac": {"from": 0.2, "to": 0.9}}, sample={"points": 3, "seed": 1}, max_tokens=5
    )
    assert len(drawn) == 3


def test_points_that_cannot_be_run_are_told(swept: Swept) -> None:
    """In their row and in what is shown; if there are no others, it is an error."""
    some = simulator.sweep(DEMO, {"cache.experts": [4, 96]}, max_tokens=5, cache={})
    assert [row["status"] for row in some.rows] == ["failed", "ok"]
    assert len(some.failed) == 1
    assert "1 failed" in repr(some)
    assert str(some.failed[0]["reason"])[:20] in some._repr_html_()
    assert swept.failed == []
    with pytest.raises(InputError, match="no point could be run"):
        simulator.sweep(DEMO, {"cache.experts": [4, 5]}, max_tokens=5, cache={})


def test_what_is_wrong_is_told() -> None:
    """Before anything is run."""
    with pytest.raises(InputError, match="has no axes"):
        simulator.sweep(read_scenario(DEMO))
    with pytest.raises(InputError, match="jobs: 0 is not a number of runs"):
        simulator.sweep(DEMO, AXES, jobs=0)
    with pytest.raises(InputError, match="go with axes"):
        simulator.sweep(DEMO, metrics=["hit*"])
    with pytest.raises(InputError, match=r"axes\.cache\.frac: 0\.5 is no list"):
        simulator.sweep(DEMO, {"cache.frac": 0.5})
    with pytest.raises(InputError, match="metrics: 'hots' is no metric"):
        simulator.sweep(DEMO, {"batch": [1]}, metrics=["hots"], max_tokens=5)


def test_what_a_notebook_shows(swept: Swept) -> None:
    """Every point with its place and main figures; no more than a page of them; a policy's name is no markup."""
    html = swept._repr_html_()
    assert html.count("<tr>") == 1 + len(swept)
    rate = swept.rows[0]["throughput_tokens_per_s"]
    assert f"{rate:.4g}" in html
    row = {**swept.rows[0], "eviction": "<i>"}
    many = Swept([row] * 100, axes=swept.axes)._repr_html_()
    assert (many.count("<tr>"), "and 40 more" in many, "&lt;i&gt;" in many, "<i>" in many) == (61, True, True, False)


def test_the_page_is_that_of_the_command(swept: Swept, tmp_path: Path) -> None:
    """The explorer of the same rows; where it cannot be written nothing is left behind."""
    swept.to_page(tmp_path / "points.html")
    page = explorer_page(swept.rows, axes=swept.axes, title="Sweep over cache.frac, eviction")
    assert (tmp_path / "points.html").read_text(encoding="utf-8") == page
    with pytest.raises(InputError, match="cannot be written"):
        swept.to_page(tmp_path / "missing" / "points.html")
    assert [item.name for item in tmp_path.iterdir()] == ["points.html"]


def test_the_frame_holds_the_rows(swept: Swept) -> None:
    """In their order, numbers as numbers."""
    pytest.importorskip("pandas")
    frame = swept.to_frame()
    assert list(frame.columns) == list(swept.rows[0])
    assert list(frame["hits"]) == [row["hits"] for row in swept.rows]
    assert str(frame["hits"].dtype) == "Int64"
    assert list(frame["eviction"]) == ["lru", "{name: lfu}"] * 2


SCRIPT = """
import simulator
swept = simulator.sweep({demo!r}, {{"cache.frac": [0.25, 0.5]}}, max_tokens=5, jobs={jobs})
print(len(swept))
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_script_without_a_guard(tmp_path: Path, jobs: int) -> None:
    """Runs with one process; with several it ends, and says what to write."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(demo=str(DEMO), jobs=jobs), encoding="utf-8")
    done = _python(str(script))
    if jobs == 1:
        assert (done.returncode, done.stdout) == (0, "2\n")
        return
    assert done.returncode == 1
    assert 'put what the script runs below `if __name__ == "__main__":`, or give jobs=1' in done.stderr
    assert "a process could not start" in done.stderr.splitlines()[-1]


def test_a_notebook_needs_no_guard() -> None:
    """Its cells are no file that a process could import again: as what is typed, or given with -c."""
    done = _python("-c", SCRIPT.format(demo=str(DEMO), jobs=2))
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def _python(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
