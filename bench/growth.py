"""Simulate so many tokens in a process of its own and print what that cost: `python -m bench.growth TRACE MODEL TOKENS`."""

import json
import sys
import time

import psutil

from simulator.run import simulate
from simulator.scenario import Scenario, build_scenario


def quarter_lru(trace: str, model: str, max_tokens: int) -> Scenario:
    """Return the scenario of the benchmarks: LRU, a quarter of each layer's experts resident, batch 1."""
    return build_scenario(
        {"trace": trace, "model": model, "hardware": "rtx-4090", "cache": {"frac": 0.25}, "max_tokens": max_tokens},
        "bench",
    )


def main() -> None:
    """Print one line of JSON: CPU time of the run, and what the process held at most while it went."""
    trace, model, max_tokens = sys.argv[1:]
    simulate(quarter_lru(trace, model, 50))  # what is loaded and built once
    process = psutil.Process()
    peak_bytes = 0

    def look(num_tokens: int, _: int) -> None:
        nonlocal peak_bytes
        if num_tokens % 500 == 0:
            peak_bytes = max(peak_bytes, process.memory_info().rss)

    started_s = time.process_time()
    result = simulate(quarter_lru(trace, model, int(max_tokens)), progress=look)
    cpu_s = time.process_time() - started_s
    sys.stdout.write(json.dumps({"cpu_s": cpu_s, "tokens": result.summary["tokens"], "peak_bytes": peak_bytes}) + "\n")


if __name__ == "__main__":
    main()
