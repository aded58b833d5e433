"""What the kernel says of waiting for a core."""

import os
import time
from pathlib import Path

import pytest

from validation.runtime.waiting import MOST_FRAC, is_undisturbed, waited_ns

needs_linux = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not tell")


@needs_linux
def test_threads_that_share_a_core_wait_for_each_other() -> None:
    """Two processes on one core for 0.2 s: this one has waited for about half of the time, and never less than nothing."""
    cores = os.sched_getaffinity(0)
    core = min(cores)
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {core})
        until = time.monotonic() + 5
        while time.monotonic() < until:
            pass
        os._exit(0)
    try:
        os.sched_setaffinity(0, {core})
        time.sleep(0.05)
        before_ns, began_ns = waited_ns(), time.perf_counter_ns()
        while time.perf_counter_ns() - began_ns < 200_000_000:
            pass
        lost_ns = waited_ns() - before_ns
    finally:
        os.sched_setaffinity(0, cores)
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert lost_ns > 20_000_000


def test_the_second_figure_of_every_thread_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that can be read: a thread may end meanwhile."""
    for name, text in (("7", "100 30 2\n"), ("8", "5 12 1\n"), ("9", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "schedstat").write_text(text, encoding="ascii")
    (tmp_path / "10").mkdir()
    monkeypatch.setattr("validation.runtime.waiting._TASKS", tmp_path)
    assert waited_ns() == 42


def test_where_the_system_does_not_tell_nothing_has_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other systems than Linux."""
    monkeypatch.setattr("validation.runtime.waiting._TASKS", tmp_path / "none")
    assert waited_ns() == 0


def test_a_fiftieth_may_be_lost() -> None:
    """Up to the bound, in any unit."""
    assert is_undisturbed(MOST_FRAC, 1)
    assert is_undisturbed(0, 0)
    assert not is_undisturbed(1.01 * MOST_FRAC * 500, 500)
