"""The example that is worked out by hand: the engine gives the same integers."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.run import RunResult, simulate
from simulator.scenario import CacheChoice, PolicyChoice, build_scenario, read_scenario

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENARIO = build_scenario(read_scenario(EXAMPLES / "fixed_costs.yaml"), "examples/fixed_costs.yaml")
CAUSES = (
    "expert_compute",
    "non_expert_compute",
    "step_compute",
    "runtime_overhead",
    "exposed_demand_fetch",
    "exposed_late_prefetch",
    "queued_behind_prefetch",
    "exposed_cpu_expert",
    "exposed_nvme",
)
EXPERT_BYTES = 3 * 64 * 32 * 2


@pytest.fixture(scope="module")
def result() -> RunResult:
    return simulate(SCENARIO)


def _us(**causes: int) -> dict[str, int]:
    """Return an attribution in ns from one in us; what is not named is 0."""
    assert set(causes) <= set(CAUSES)
    return {name: causes.get(name, 0) * 1000 for name in CAUSES}


def _assert_has(summary: Mapping[str, object], expected: Mapping[str, object]) -> None:
    assert {key: summary[key] for key in expected} == expected


def test_summary_is_that_of_the_comments(result: RunResult) -> None:
    """The file's comments end in these numbers."""
    _assert_has(
        result.summary,
        {
            "makespan_ns": 11_150_000,
            "tokens": 4,
            "prefill_tokens": 2,
            "steps": 3,
            "decode_steps": 2,
            "accesses": 16,
            "hits": 7,
            "late_hits": 0,
            "misses": 9,
            "wave_fetches": 1,
            "transfer_ns": 1_000_000,
            "expert_bytes": EXPERT_BYTES,
            "h2d_demand_bytes": 9 * EXPERT_BYTES,
            "h2d_prefetch_bytes": 0,
            "busy_frac": {"gpu": 2950 / 11150, "h2d": 9000 / 11150, "d2h": 0.0, "cpu": 0.0},
            "attribution_ns": _us(
                expert_compute=1600, non_expert_compute=1200, step_compute=150, exposed_demand_fetch=8200
            ),
            "warnings": [],
        },
    )


def test_requests_are_those_of_the_comments(result: RunResult) -> None:
    """Sequence 0 has its tokens at 6650 and 9400, sequence 1, which came with it, at 9400 and 11150."""
    times = [
        (request.sequence, request.started_ns, request.first_token_ns, request.last_token_ns, request.output_tokens)
        for request in result.requests
    ]
    assert times == [(0, 0, 6_650_000, 9_400_000, 2), (1, 0, 9_400_000, 11_150_000, 2)]


def test_layers_are_those_of_the_comments(result: RunResult) -> None:
    """Each layer has its own hits and its own waiting."""
    rows = [
        (row["layer"], row["accesses"], row["hits"], row["misses"], row["exposed_demand_fetch_ns"])
        for row in result.layers
    ]
    assert rows == [(0, 9, 5, 4, 3_600_000), (1, 7, 2, 5, 4_600_000)]


def test_with_a_perfect_prefetch_into_a_cache_that_holds_all() -> None:
    """One layer ahead, nothing evicted. Times in us.

    Step 1: 0 fetches of layer 0's E0 E1 E2 until 1000, 2000, 3000; 200 gate, three late hits, and the fetches of layer 1's
    E0 E1 E2 queue up until 4000, 5000, 6000. Kernels at 1000, 2000, 3000: waited 800 + 900 + 900. Layer 1: gate at 3300,
    three late hits, and layer 0's E3 queues up until 7000. Kernels at 4000, 5000, 6000: waited 700 + 900 + 900.
    Step 2 begins at 6150. Gate at 6350: E2 E0 E1 hit, E3 is on its way; layer 1's E3 queues up until 8000. Hits until 6650,
    waited 350, E3 until 7100. Gate at 7300: E1 hits until 7400, E3 is late: waited 600, until 8100. Head until 8150.
    Step 3: four hits; 200 + 200 + 200 + 200 + 50 more: 9000.
    """
    scenario = replace(SCENARIO, prefetch=PolicyChoice(name="perfect"), cache=CacheChoice(frac=1.0))
    _assert_has(
        simulate(scenario).summary,
        {
            "makespan_ns": 9_000_000,
            "accesses": 16,
            "hits": 8,
            "late_hits": 8,
            "misses": 0,
            "h2d_demand_bytes": 0,
            "h2d_prefetch_bytes": 8 * EXPERT_BYTES,
            "prefetches": {
                **dict.fromkeys(("useful", "wasted", "dropped", "cancelled", "unused_at_end"), 0),
                "issued": 8,
                "late": 8,
            },
            "busy_frac": {"gpu": 2950 / 9000, "h2d": 8000 / 9000, "d2h": 0.0, "cpu": 0.0},
            "attribution_ns": _us(
                expert_compute=1600, non_expert_compute=1200, step_compute=150, exposed_late_prefetch=6050
            ),
        },
    )


def test_the_script_writes_the_committed_trace(tmp_path: Path) -> None:
    """The trace beside the example is what the script makes, byte for byte."""
    written = tmp_path / "again.safetensors"
    script = EXAMPLES / "make_fixed_costs_trace.py"
    subprocess.run([sys.executable, script, written], check=True, timeout=60, cwd=EXAMPLES.parent)
    assert written.read_bytes() == (EXAMPLES / "fixed_costs_trace.safetensors").read_bytes()
