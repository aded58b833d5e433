"""Work over processes: order, processes that die, exceptions."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator.points.workers import spread


@dataclass(frozen=True)
class DiesOnce:
    """Doubles numbers; the process that gets a number of `deadly` kills itself, once or each time."""

    folder: Path
    deadly: tuple[int, ...]
    always: bool = False

    def __call__(self, number: int) -> int:
        """Return twice the number."""
        mark = self.folder / str(number)
        if number in self.deadly and (self.always or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number


def minus_one(number: int) -> int:
    """Return what is left of a number whose process died."""
    del number
    return -1


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_results_are_in_order(jobs: int, tmp_path: Path) -> None:
    """However many processes; each task is told once as it ends."""
    told: list[tuple[int, int]] = []
    work = DiesOnce(tmp_path, ())
    results = spread(work, range(7), jobs=jobs, lost=minus_one, done=lambda index, result: told.append((index, result)))
    assert results == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(told) == list(enumerate(results))
    assert spread(work, [], jobs=jobs, lost=minus_one) == []


def test_a_process_that_dies_costs_one_task(tmp_path: Path) -> None:
    """Who dies once is tried again; who dies twice is lost, and nobody else."""
    assert spread(DiesOnce(tmp_path, (2, 3)), range(6), jobs=2, lost=minus_one) == [0, 2, 4, 6, 8, 10]
    assert spread(DiesOnce(tmp_path, (1,), always=True), range(4), jobs=2, lost=minus_one) == [0, -1, 4, 6]


def test_what_is_told_may_end_it_all(tmp_path: Path) -> None:
    """An exception of the caller's ends the processes, and is not swallowed."""

    def stop(index: int, result: int) -> None:
        raise KeyboardInterrupt(index, result)

    with pytest.raises(KeyboardInterrupt):
        spread(DiesOnce(tmp_path, ()), range(50), jobs=2, lost=minus_one, done=stop)


def test_processes_that_cannot_start_are_told(tmp_path: Path) -> None:
    """A script without the guard ends with what to write, not with a process after the other."""
    script = tmp_path / "script.py"
    script.write_text(
        "from simulator.points.workers import spread\nspread(abs, [1, 2, 3], jobs=2, lost=abs)\n", encoding="utf-8"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert ended.returncode == 1
    assert "needs `if __name__ == '__main__':`" in ended.stderr
