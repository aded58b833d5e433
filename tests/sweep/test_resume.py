"""A sweep that is killed, for real, goes on where it was, and writes the bytes of one that nobody disturbed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = f"""
scenario: {ROOT}/examples/demo.yaml
axes:
  cache.frac: {{from: 0.1, to: 0.9, points: 9}}
  system: [on_demand, fiddler, oracle_eviction]
  batch: [1, 2]
"""
POINTS = 54
_MAIN = """
import signal
from simulator.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
main()
"""
TIMEOUT_S = 120


def started(folder: Path, out: str, *more: str) -> "subprocess.Popen[str]":
    """Start a sweep in a process group of its own."""
    command = ["sweep", "sweep.yaml", "--out", out, "--set", "max_tokens=150", *more]
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stored(folder: Path, out: str) -> list[Path]:
    """Return the results that a sweep has stored."""
    return sorted((folder / out / "store").rglob("*.json"))


def wait_for_points(sweep: "subprocess.Popen[str]", folder: Path, out: str, least: int) -> None:
    """Wait until a sweep that runs has stored so many points."""
    end_s = time.monotonic() + TIMEOUT_S
    while len(stored(folder, out)) < least:
        assert sweep.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < end_s
        time.sleep(0.005)


def alive(group: int) -> list[int]:
    """Return the processes of a group, those that nobody has reaped aside."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a sweep over the trace that ships."""
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


def test_kill_9_loses_nothing_that_was_done(folder: Path) -> None:
    """Killed with all its processes; one result damaged; the same command again; compared with an undisturbed one."""
    killed = started(folder, "killed", "--jobs", "2")
    wait_for_points(killed, folder, "killed", 6)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=TIMEOUT_S)
    assert killed.returncode == -signal.SIGKILL
    done = stored(folder, "killed")
    assert 6 <= len(done) < POINTS
    assert not list((folder / "killed").glob("points.*"))
    done[0].write_bytes(done[0].read_bytes()[:-100])

    again = started(folder, "killed", "--jobs", "2")
    told, _ = again.communicate(timeout=TIMEOUT_S)
    assert again.returncode == 0
    assert f"{POINTS} points: {POINTS} ok, {len(done) - 1} of them stored before" in told

    undisturbed = started(folder, "undisturbed", "--jobs", "1")
    told, _ = undisturbed.communicate(timeout=TIMEOUT_S)
    assert undisturbed.returncode == 0
    assert "0 of them stored before" in told
    files = {path.name for path in (folder / "undisturbed").glob("points.*")}
    assert {"points.csv", "points.json"} <= files
    for name in files:
        assert (folder / "killed" / name).read_bytes() == (folder / "undisturbed" / name).read_bytes(), name


def test_ctrl_c_keeps_what_is_done(folder: Path) -> None:
    """To all its processes, as a terminal sends it: exit code 130, no traceback, and no process left behind."""
    sweep = started(folder, "stopped", "--jobs", "2")
    wait_for_points(sweep, folder, "stopped", 4)
    os.killpg(sweep.pid, signal.SIGINT)
    _, told = sweep.communicate(timeout=TIMEOUT_S)
    assert sweep.returncode == 130
    assert "what is done is kept in stopped/store/; the same command goes on from there" in told
    assert told.endswith("moesim: interrupted\n")
    assert "Traceback" not in told
    assert len(stored(folder, "stopped")) >= 4
    end_s = time.monotonic() + TIMEOUT_S
    while alive(sweep.pid):
        assert time.monotonic() < end_s, "processes are left"
        time.sleep(0.05)
