"""Speed, as ratios within one process and as growth: figures that carry over from one machine to another.

The yardstick is SimPy itself: how many bare timeouts it gets through in a second of CPU time. The engine's figure is the
expert accesses that it simulates in that second, measured in turn with the yardstick, medians of both.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.growth import quarter_lru
from bench.yardstick import bare_timeouts_s
from simulator.run import simulate

ROOT = Path(__file__).parent.parent
NUM_TIMEOUTS = 200_000


@pytest.mark.parametrize(
    ("trace_fixture", "model", "max_tokens", "bar"),
    [("recorded_trace", "gpt-oss-20b", 2000, 0.15), ("wide_trace", "qwen3-30b-a3b", 500, 0.20)],
)
def test_accesses_per_bare_timeout(
    trace_fixture: str,
    model: str,
    max_tokens: int,
    bar: float,
    benchmark: BenchmarkFixture,
    request: pytest.FixtureRequest,
) -> None:
    """An expert access, with all that belongs to it, costs at most 1 / bar bare timeouts."""
    scenario = quarter_lru(str(request.getfixturevalue(trace_fixture)), model, max_tokens)
    simulate(quarter_lru(scenario.trace, model, 50))
    bare_per_s: list[float] = []
    accesses_per_s: list[float] = []
    hit_frac: list[float] = []

    def run() -> None:
        started_s = time.process_time()
        summary = simulate(scenario).summary
        elapsed_s = time.process_time() - started_s
        accesses, hits = summary["accesses"], summary["hits"]
        assert isinstance(accesses, int)
        assert isinstance(hits, int)
        accesses_per_s.append(accesses / elapsed_s)
        hit_frac.append(hits / accesses)

    benchmark.pedantic(run, setup=lambda: bare_per_s.append(NUM_TIMEOUTS / bare_timeouts_s(NUM_TIMEOUTS)), rounds=9)
    ratio = median(accesses_per_s) / median(bare_per_s)
    benchmark.extra_info["ratio"] = ratio
    _print(
        f"{'trace':16} {'accesses/s':>12} {'timeouts/s':>12} {'ratio':>6} {'bar':>5} {'hits':>6}",
        f"{model:16} {median(accesses_per_s):12,.0f} {median(bare_per_s):12,.0f} {ratio:6.3f} {bar:5.2f} "
        f"{hit_frac[0]:6.1%}",
    )
    assert ratio >= bar


def test_time_and_memory_grow_with_the_tokens_alone(long_trace: Path) -> None:
    """A token of a run of 60,000 takes as long as one of 1,000 (within 15 %), and memory hardly grows.

    Time is in bare timeouts taken during the run. The bound on memory is 1 KiB for each further token: a latency takes 8 B
    of it, the mapped trace 96 B.
    """
    rows = []
    for max_tokens, repeats in ((1000, 5), (10_000, 3), (60_000, 1)):
        runs = [_grown(long_trace, max_tokens) for _ in range(repeats)]
        assert all(run["tokens"] == max_tokens for run in runs)
        per_token = median(run["cpu_s"] / run["timeout_s"] / max_tokens for run in runs)
        rows.append((max_tokens, per_token, median(run["peak_bytes"] for run in runs)))
    _print(
        f"{'tokens':>8} {'timeouts/token':>15} {'peak MiB':>9}",
        *(f"{tokens:8,} {per_token:15.1f} {peak / 2**20:9.1f}" for tokens, per_token, peak in rows),
    )
    (fewest, first, first_bytes), *_, (most, _, last_bytes) = rows
    assert max(per_token for _, per_token, _ in rows) <= 1.15 * first
    assert last_bytes - first_bytes <= 1024 * (most - fewest)


def _grown(trace: Path, max_tokens: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.growth", str(trace), "gpt-oss-20b", str(max_tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=_environment())
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def test_help_comes_at_once() -> None:
    """`moesim --help` takes less than 0.3 s, start of the interpreter included.

    The wall clock counts, so this needs a machine with nothing else to do; CPU time is shown beside it.
    """
    command = [sys.executable, "-c", "from simulator.cli import main; main()", "--help"]
    wall_s, cpu_s = [], []
    for _ in range(9):
        before, started_s = os.times(), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
        after = os.times()
        wall_s.append(time.perf_counter() - started_s)
        cpu_s.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert "moesim" in done.stdout
    _print(f"moesim --help: {median(wall_s):.3f} s by the wall clock (bar 0.300 s), {median(cpu_s):.3f} s of CPU")
    assert median(wall_s) < 0.3


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(["", *lines, ""]))
