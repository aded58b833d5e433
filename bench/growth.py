"""Simulate so many tokens in a process of its own and print what that cost: `python -m bench.growth TRACE MODEL TOKENS`."""

import json
import sys
import time

import psutil

from bench.yardstick import bare_timeouts_s
from simulator.run import simulate
from simulator.scenario import Scenario, build_scenario

_TOKENS_PER_LOOK = 250
_TIMEOUTS_PER_LOOK = 10_000


def quarter_lru(trace: str, model: str, max_tokens: int) -> Scenario:
    """Return the scenario of the benchmarks: LRU, a quarter of each layer's experts resident, batch 1."""
    return build_scenario(
        {"trace": trace, "model": model, "hardware": "rtx-4090", "cache": {"frac": 0.25}, "max_tokens": max_tokens},
        "bench",
    )


def main() -> None:
    """Print one line of JSON: CPU time of the run, that of a bare timeout meanwhile, and what the process held at most.

    The yardstick is taken every few tokens, so that whatever slows the machine down slows both.
    """
    trace, model, max_tokens = sys.argv[1:]
    simulate(quarter_lru(trace, model, 50))  # what is loaded and built once
    process = psutil.Process()
    peak_bytes = num_looks = 0
    yardstick_s = 0.0

    def look(num_tokens: int, _: int) -> None:
        nonlocal peak_bytes, num_looks, yardstick_s
        if num_tokens % _TOKENS_PER_LOOK == 0:
            peak_bytes = max(peak_bytes, process.memory_info().rss)
            num_looks += 1
            yardstick_s += bare_timeouts_s(_TIMEOUTS_PER_LOOK)

    started_s = time.process_time()
    result = simulate(quarter_lru(trace, model, int(max_tokens)), progress=look)
    measured = {
        "cpu_s": time.process_time() - started_s - yardstick_s,
        "timeout_s": yardstick_s / (num_looks * _TIMEOUTS_PER_LOOK),
        "tokens": result.summary["tokens"],
        "peak_bytes": peak_bytes,
    }
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main()
