"""Points: what is stored is not run again, what is damaged is, and what fails stops nobody."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from simulator.points.point import Point, PointResult
from simulator.points.run import run_points
from simulator.points.store import Store, Stored
from simulator.run import simulate
from simulator.scenario import build_scenario

Values = Mapping[str, object]


def points_of(values: Values) -> list[Point]:
    """Return five points, of which the fourth fails and the fifth is the first again."""
    sizes = [7, 9, 12, 1, 7]
    return [Point(values={**values, "cache": {"experts": size}}, labels={"size": size}) for size in sizes]


def summaries(results: list[PointResult]) -> str:
    """Return all that is said of points, but for how it was come by."""
    return json.dumps([(result.key, result.summary, result.reason, dict(result.point.labels)) for result in results])


def test_a_point_is_its_run(values: Values, tmp_path: Path) -> None:
    """The summary is that of the run, from the run and from the store."""
    expected = json.loads(json.dumps(simulate(build_scenario(values, "x")).summary))
    for reused in (False, True):
        (result,) = run_points([Point(values=values)], store=tmp_path / "store")
        assert result.summary == expected
        assert (result.is_reused, bool(result.key), result.reason) == (reused, True, "")
    (unstored,) = run_points([Point(values=values)])
    assert (unstored.summary, unstored.is_reused) == (expected, False)


def test_several_at_once_and_again(values: Values, tmp_path: Path) -> None:
    """Same results in the same order, by one process, by two, and from the store; equal points are run once."""
    told: list[int] = []
    one = run_points(points_of(values))
    two = run_points(
        points_of(values),
        store=tmp_path / "store",
        jobs=2,
        progress=lambda result: told.append(int(str(result.point.labels["size"]))),
    )
    again = run_points(points_of(values), store=tmp_path / "store", jobs=2)
    assert summaries(one) == summaries(two) == summaries(again)
    assert sorted(told) == [1, 7, 7, 9, 12]
    assert [result.is_reused for result in again] == [True, True, True, False, True]
    assert [result.summary is None for result in one] == [False, False, False, True, False]
    assert "a run needs" in one[3].reason
    assert len(list((tmp_path / "store").rglob("*.json"))) == 3


def test_what_is_damaged_is_run_again(values: Values, tmp_path: Path) -> None:
    """Empty, cut, of another key, with a digit changed: none of these is taken for a result."""
    store = tmp_path / "store"
    (good,) = run_points([Point(values=values)], store=store)
    (file,) = store.rglob("*.json")
    whole = file.read_text(encoding="utf-8")
    changed = whole.replace('"makespan_ns": ', '"makespan_ns": 1', 1)
    assert changed != whole
    for text in ("", whole[:-20], whole.replace(good.key, good.key[::-1]), changed, "[]", '{"key": 1}'):
        file.write_text(text, encoding="utf-8")
        (result,) = run_points([Point(values=values)], store=store)
        assert (result.is_reused, result.summary) == (False, good.summary)
        assert Store(store).read(good.key) is not None
    assert not [path for path in store.rglob(".*") if path.is_file()], "nothing partial is left"


def test_a_store_that_cannot_be_written(values: Values, tmp_path: Path) -> None:
    """It is told before anything is run."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot be written: .*; name another folder"):
        run_points([Point(values=values)], store=tmp_path / "file")


def test_a_run_that_ends_by_the_clock_is_never_reused(values: Values, tmp_path: Path) -> None:
    """It would end elsewhere each time."""
    workload = {
        "arrivals": {"process": "poisson", "rate": "10 requests/s"},
        "prompt_tokens": 2,
        "output_tokens": 3,
        "requests": 3,
    }
    service = {**values, "workload": workload, "stop": {"wall_time": "1 h"}}
    for _ in range(2):
        (result,) = run_points([Point(values=service)], store=tmp_path / "store")
        assert (result.summary is not None, result.key, result.is_reused) == (True, "", False)
    service["stop"] = {"time": "1 h"}
    for reused in (False, True):
        (result,) = run_points([Point(values=service)], store=tmp_path / "store")
        assert result.is_reused == reused


def test_many_writers_of_one_result(tmp_path: Path) -> None:
    """Processes that write the same key at once leave one whole file, and readers see nothing else."""
    code = (
        "import sys; from pathlib import Path; from simulator.points.store import Store, Stored\n"
        "store, key, stored = Store(Path(sys.argv[1])), 'ab' * 32, Stored(summary={'x': list(range(2000))}, wall_s=1.0)\n"
        "for _ in range(100):\n"
        "    store.write(key, stored)\n"
        "    assert store.read(key) == stored\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        for _ in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    stored = Store(tmp_path).read("ab" * 32)
    assert stored == Stored(summary={"x": list(range(2000))}, wall_s=1.0)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]
