"""Serve requests in a process of its own and print what it held: `python -m bench.service_growth TRACE FILE COUNT`."""

import json
import sys

import psutil

from simulator.run import simulate
from simulator.scenario import Scenario, build_scenario
from simulator.workload.step import Step

_STEPS_PER_LOOK = 100


def azure_hour(trace: str, workload: str, *, frac: float, requests: int | None) -> Scenario:
    """Return the scenario of the benchmarks: gpt-oss-20b on an RTX 4090, batches of up to 32."""
    return build_scenario(
        {
            "trace": trace,
            "model": "gpt-oss-20b",
            "hardware": "rtx-4090",
            "cache": {"frac": frac},
            "workload": {"file": workload},
            "scheduler": {"max_batch": 32},
            "stop": {"requests": requests} if requests else {},
        },
        "bench",
    )


def main() -> None:
    """Print one line of JSON: requests and tokens that came out, and what the process held at most."""
    trace, workload, requests = sys.argv[1:]
    process = psutil.Process()
    peak_bytes = num_steps = 0

    def look(step: Step, now_ns: int, snapshot: object) -> None:
        nonlocal peak_bytes, num_steps
        del step, now_ns, snapshot
        num_steps += 1
        if num_steps % _STEPS_PER_LOOK == 0:
            peak_bytes = max(peak_bytes, process.memory_info().rss)

    summary = simulate(azure_hour(trace, workload, frac=1.0, requests=int(requests)), on_step=look).summary
    measured = {"requests": summary["requests_finished"], "tokens": summary["tokens"], "peak_bytes": peak_bytes}
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main()
