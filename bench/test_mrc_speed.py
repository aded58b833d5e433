"""Speed of miss-ratio curves, in bare timeouts of SimPy: every size at once, compiled."""

import sys
import time
from pathlib import Path
from statistics import median

import pytest

from bench.yardstick import bare_timeouts_s
from simulator.mrc.accesses import bank_accesses
from simulator.mrc.lru import lru_hits
from traces.format import open_trace

NUM_TIMEOUTS = 200_000
BAR = 4.0


def test_accesses_of_all_sizes_per_bare_timeout(recorded_trace: Path) -> None:
    """In the time of a bare timeout, two accesses are counted for every capacity."""
    pytest.importorskip("numba")
    trace = open_trace(recorded_trace)
    pools = bank_accesses(trace, range(trace.num_sequences))
    lru_hits(pools[0])
    accesses_per_s, timeouts_per_s = [], []
    for _ in range(5):
        timeouts_per_s.append(NUM_TIMEOUTS / bare_timeouts_s(NUM_TIMEOUTS))
        started_s = time.process_time()
        for pool in pools:
            lru_hits(pool)
        accesses_per_s.append(sum(len(pool.keys) for pool in pools) / (time.process_time() - started_s))
    ratio = median(accesses_per_s) / median(timeouts_per_s)
    sys.stdout.write(
        f"\n{median(accesses_per_s):,.0f} accesses/s, {median(timeouts_per_s):,.0f} timeouts/s, ratio {ratio:.2f} "
        f"(bar {BAR})\n"
    )
    assert ratio >= BAR
