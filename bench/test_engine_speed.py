"""Speed, as ratios within one process and as growth: figures that carry over from one machine to another.

The yardstick is SimPy itself: how many bare timeouts it gets through in a second of CPU time. The engine's figure is the
expert accesses that it simulates in that second, measured in turn with the yardstick, medians of both.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from statistics import median

import pytest
import simpy
from pytest_benchmark.fixture import BenchmarkFixture

from bench.growth import quarter_lru
from simulator.run import simulate

ROOT = Path(__file__).parent.parent
NUM_TIMEOUTS = 200_000


def timeouts_per_s() -> float:
    """Run one process that waits again and again, and nothing else."""
    env = simpy.Environment()

    def wait() -> Generator[simpy.Event, None, None]:
        for _ in range(NUM_TIMEOUTS):
            yield env.timeout(1)

    env.process(wait())
    started_s = time.process_time()
    env.run()
    return NUM_TIMEOUTS / (time.process_time() - started_s)


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
    hit_frac: list[object] = []

    def run() -> None:
        started_s = time.process_time()
        summary = simulate(scenario).summary
        accesses = summary["accesses"]
        assert isinstance(accesses, int)
        accesses_per_s.append(accesses / (time.process_time() - started_s))
        hit_frac.append(summary["hit_frac"])

    benchmark.pedantic(run, setup=lambda: bare_per_s.append(timeouts_per_s()), rounds=9)
    ratio = median(accesses_per_s) / median(bare_per_s)
    benchmark.extra_info["ratio"] = ratio
    _print(f"{'trace':16} {'accesses/s':>12} {'timeouts/s':>12} {'ratio':>6} {'bar':>5} {'hits':>6}")
    _print(
        f"{model:16} {median(accesses_per_s):12,.0f} {median(bare_per_s):12,.0f} {ratio:6.3f} {bar:5.2f} "
        f"{float(str(hit_frac[0])):6.1%}"
    )
    assert ratio >= bar


def test_time_and_memory_grow_with_the_tokens_alone(long_trace: Path) -> None:
    """A token of a run of 60,000 takes as long as one of 1,000 (within 15 %), and memory hardly grows.

    The bound is 1 KiB for each further token: a latency takes 8 B of it, the mapped trace 96 B.
    """
    rows = []
    for max_tokens, repeats in ((1000, 5), (10_000, 3), (60_000, 1)):
        runs = [_grown(long_trace, max_tokens) for _ in range(repeats)]
        assert all(run["tokens"] == max_tokens for run in runs)
        per_token_us = median(run["cpu_s"] for run in runs) / max_tokens * 1e6
        rows.append((max_tokens, per_token_us, median(run["peak_bytes"] for run in runs)))
    _print(f"{'tokens':>8} {'us/token':>9} {'peak MiB':>9}")
    for max_tokens, per_token_us, peak_bytes in rows:
        _print(f"{max_tokens:8,} {per_token_us:9.1f} {peak_bytes / 2**20:9.1f}")
    (fewest, first_us, first_bytes), *_, (most, last_us, last_bytes) = rows
    assert max(row[1] for row in rows) <= 1.15 * first_us
    assert last_us <= 1.15 * first_us
    assert last_bytes - first_bytes <= 1024 * (most - fewest)


def _grown(trace: Path, max_tokens: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.growth", str(trace), "gpt-oss-20b", str(max_tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=_environment())
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def test_help_comes_at_once() -> None:
    """`moesim --help` takes less than 0.3 s, start of the interpreter included."""
    command = [sys.executable, "-c", "from simulator.cli import main; main()", "--help"]
    times_s = []
    for _ in range(9):
        started_s = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
        times_s.append(time.perf_counter() - started_s)
        assert "moesim" in done.stdout
    _print(f"moesim --help: {median(times_s):.3f} s (bar 0.300 s)")
    assert median(times_s) < 0.3


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _print(line: str) -> None:
    sys.stdout.write(f"\n{line}" if line.startswith(("trace", "moesim", "  tokens")) else line)
    sys.stdout.write("\n")
