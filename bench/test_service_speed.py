"""Speed of a service: the Azure conversation hour on gpt-oss-20b's routing and an RTX 4090, batches of up to 32.

With half of the experts resident the machine falls behind the hour, so its backlog keeps the batch full: the figure is the
time simulated per second of CPU time, over the first requests answered. With all resident it keeps up: the figure is
requests per second, over the whole hour. With all resident, memory is held to what requests leave behind.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.service_growth import azure_hour
from simulator.run import simulate

ROOT = Path(__file__).parent.parent
WORKLOAD = Path("workloads", "AzureLLMInferenceTrace_conv.csv")

LEAST_TIMES_REAL = 30
LEAST_REQUESTS_PER_S = 700
MOST_BYTES_PER_REQUEST = 4096


def _hour(trace: Path, shared_data: Path, *, frac: float, requests: int | None) -> tuple[float, float, float]:
    """Return (seconds simulated, requests answered, CPU seconds)."""
    scenario = azure_hour(str(trace), str(shared_data / WORKLOAD), frac=frac, requests=requests)
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


def test_memory_grows_with_the_requests_alone(recorded_trace: Path, shared_data: Path) -> None:
    """A request leaves its record and its latencies behind, at most 4 KiB; nothing that its steps have made."""
    few, many = (_grown(recorded_trace, shared_data / WORKLOAD, requests) for requests in (2000, 16_000))
    grown = (many["peak_bytes"] - few["peak_bytes"]) / (many["requests"] - few["requests"])
    peaks = " and ".join(f"{one['peak_bytes'] / 2**20:.0f} MiB after {one['requests']} requests" for one in (few, many))
    sys.stdout.write(f"\n{peaks}: {grown:.0f} bytes for each further one\n")
    assert grown <= MOST_BYTES_PER_REQUEST


def _grown(trace: Path, workload: Path, requests: int) -> dict[str, int]:
    command = [sys.executable, "-m", "bench.service_growth", str(trace), str(workload), str(requests)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    measured: dict[str, int] = json.loads(done.stdout)
    return measured
