"""Speed of a service: the Azure conversation hour on gpt-oss-20b's routing and an RTX 4090, batches of up to 32.

With half of the experts resident the machine falls behind the hour, so its backlog keeps the batch full: the figure is the
time simulated per second of CPU time, over the first requests answered. With all resident it keeps up: the figure is
requests per second, over the whole hour.
"""

import sys
import time
from pathlib import Path

from simulator.run import simulate
from simulator.scenario import build_scenario

LEAST_TIMES_REAL = 30
LEAST_REQUESTS_PER_S = 700


def _hour(trace: Path, shared_data: Path, *, frac: float, requests: int | None) -> tuple[float, float, float]:
    """Return (seconds simulated, requests answered, CPU seconds)."""
    scenario = build_scenario(
        {
            "trace": str(trace),
            "model": "gpt-oss-20b",
            "hardware": "rtx-4090",
            "cache": {"frac": frac},
            "workload": {"file": str(shared_data / "workloads" / "AzureLLMInferenceTrace_conv.csv")},
            "scheduler": {"max_batch": 32},
            "stop": {"requests": requests} if requests else {},
        },
        "bench",
    )
    started_s = time.process_time()
    summary = simulate(scenario).summary
    elapsed_s = time.process_time() - started_s
    service, makespan_ns = summary["service"], summary["makespan_ns"]
    assert isinstance(service, dict)
    assert isinstance(makespan_ns, int)
    return makespan_ns / 1e9, service["finished"], elapsed_s


def test_half_of_the_experts(recorded_trace: Path, shared_data: Path) -> None:
    """Layer by layer, with transfers: at least 30 times real time on one core."""
    simulated_s, answered, elapsed_s = _hour(recorded_trace, shared_data, frac=0.5, requests=600)
    sys.stdout.write(f"\n{simulated_s / elapsed_s:.1f} x real time, {answered} requests in {elapsed_s:.1f} s\n")
    assert simulated_s / elapsed_s >= LEAST_TIMES_REAL


def test_all_of_the_experts(recorded_trace: Path, shared_data: Path) -> None:
    """Step by step: at least 700 requests a second."""
    simulated_s, answered, elapsed_s = _hour(recorded_trace, shared_data, frac=1.0, requests=None)
    sys.stdout.write(f"\n{answered / elapsed_s:.0f} requests/s, {simulated_s:.0f} s in {elapsed_s:.1f} s\n")
    assert answered / elapsed_s >= LEAST_REQUESTS_PER_S
