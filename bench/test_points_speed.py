"""Points on two cores: a sweep of cache, link and system, 300 tokens of gpt-oss-20b's routing each.

Wall time of all 500 points with one process and with two, half of them in turn, so that a machine that is slow for a while
is slow for both. Processes start anew for each half.
"""

import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from simulator.points.point import Point
from simulator.points.run import run_points

LEAST_RATIO = 1.8
_CACHES = 20
_LINKS = ("gen3x16", "gen4x16", "gen5x8", "gen5x16", "gen6x16")
_SYSTEMS = ("on_demand", "fiddler", "moe-infinity-code", "mixtral-offloading-paper", "promoe")
_SLICES = 2


def _points(trace: Path) -> Sequence[Point]:
    base = {"trace": str(trace), "model": "gpt-oss-20b", "hardware": "rtx-4090", "max_tokens": 300}
    shares = [round(0.05 + 0.9 * place / (_CACHES - 1), 4) for place in range(_CACHES)]
    return [
        Point(values={**base, "cache": {"frac": share}, "pcie": pcie, "system": system})
        for share, pcie, system in product(shares, _LINKS, _SYSTEMS)
    ]


def _took_s(points: Sequence[Point], store: Path, jobs: int) -> float:
    started_s = time.perf_counter()
    results = run_points(points, store=store, jobs=jobs)
    assert not any(result.reason or result.is_reused for result in results)
    return time.perf_counter() - started_s


def test_two_processes(recorded_trace: Path, tmp_path: Path) -> None:
    """At least 1.8 times as fast as one; and from the store, in a small part of the time."""
    points = _points(recorded_trace)
    took_s = {1: 0.0, 2: 0.0}
    for place in range(_SLICES):
        part = points[place::_SLICES]
        for jobs in (1, 2) if place % 2 == 0 else (2, 1):
            took_s[jobs] += _took_s(part, tmp_path / f"store{jobs}", jobs)
    started_s = time.perf_counter()
    assert all(result.is_reused for result in run_points(points, store=tmp_path / "store2", jobs=2))
    stored_s = time.perf_counter() - started_s
    ratio = took_s[1] / took_s[2]
    sys.stdout.write(
        f"\n{len(points)} points: {took_s[1]:.1f} s with one process, {took_s[2]:.1f} s with two (x {ratio:.2f}), "
        f"{stored_s:.1f} s from the store\n"
    )
    assert ratio >= LEAST_RATIO
