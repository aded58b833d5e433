"""Closed batches whose results are kept: the examples, and runs over the trace that ships.

Only keys and policies that were there before scenarios had a workload, so that the code of then runs them as well.
"""

import hashlib
import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from simulator.results import request_rows
from simulator.run import simulate
from simulator.scenario import build_scenario, read_scenario

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "closed_batch.json"

Values = Mapping[str, object]

_FACTS = (
    "makespan_ns",
    "warmup_ns",
    "tokens",
    "prefill_tokens",
    "steps",
    "accesses",
    "hits",
    "late_hits",
    "misses",
    "cpu_experts",
    "deferred_experts",
    "low_precision_experts",
    "experts_read_in_place",
    "wave_fetches",
    "h2d_demand_bytes",
    "h2d_prefetch_bytes",
    "h2d_low_precision_bytes",
    "h2d_in_place_bytes",
    "d2h_write_back_bytes",
    "prefetches",
    "attribution_ns",
)
_LAYER_FACTS = (
    "layer",
    "accesses",
    "hits",
    "late_hits",
    "misses",
    "cpu_experts",
    "deferred_experts",
    "low_experts",
    "dropped_picks",
    "substituted_picks",
    "dropped_mass",
    "substituted_mass",
    "low_mass",
    "deferred_mass",
    "expert_compute_ns",
    "non_expert_compute_ns",
    "runtime_overhead_ns",
    "exposed_demand_fetch_ns",
    "exposed_late_prefetch_ns",
    "queued_behind_prefetch_ns",
    "exposed_cpu_expert_ns",
)


def cases() -> dict[str, Values]:
    """Return the scenarios by name: every combination of the choices that matter most, then others one by one."""
    found: dict[str, Values] = {
        "examples/demo.yaml": _example("demo.yaml"),
        "examples/fixed_costs.yaml": _example("fixed_costs.yaml"),
    }
    for frac, eviction, prefetch, batch in product(
        (0.25, 0.5), ("lru", "lfu", "sieve"), ("none", "gate_lookahead"), (1, 4)
    ):
        name = f"{frac:g} of the experts, {eviction}, {prefetch}, batch {batch}"
        found[name] = _nano(cache={"frac": frac}, eviction=eviction, prefetch=prefetch, batch=batch)
    for frac, miss, batch in product((0.25, 0.5), ("cpu", "schedule", "drop"), (1, 4)):
        name = f"{frac:g} of the experts, gate_lookahead, {miss}, batch {batch}"
        found[name] = _nano(cache={"frac": frac}, prefetch="gate_lookahead", miss=miss, batch=batch)
    others: dict[str, Values] = {
        "all experts": {"cache": {"frac": 1.0}},
        "global": {"cache": {"frac": 0.25, "scope": "global"}, "batch": 8},
        "fifo, warm-up": {"eviction": "fifo", "warmup_steps": 5},
        "belady, perfect prefetch": {"eviction": "belady", "prefetch": "perfect"},
        "affinity, learned": {"prefetch": "affinity", "fit": {"sequences": 20}},
        "write-back": {"cache": {"frac": 0.25, "write_back": True}, "batch": 4},
        "staging": {"cache": {"frac": 0.25, "staging": 8}, "prefetch": "gate_lookahead", "queue": "purge_passed"},
        "low precision": {"miss": "low_precision", "low_precision": {"format": "q4_0", "frac": 0.5}},
        "deferred": {"miss": "defer", "batch": 2},
        "read in place": {"miss": "in_place"},
        "popular at the start": {"placement": "popular", "miss": "cpu_by_tokens"},
        "tiles": {"tiles": {"count": 4, "overhead": "1 us"}},
        "a slow link in chunks": {
            "prefetch": "gate_lookahead",
            "hardware_set": {"link.h2d.bandwidth": "1 GB/s", "link.h2d.latency": "1 us", "link.h2d.chunk": "4 KiB"},
        },
        "grouped kernels": {"hardware_set": {"runtime.expert_kernels": "grouped"}, "batch": 4},
        "what a stall loses": {"hardware_set": {"runtime.per_stall": "3 us", "runtime.per_layer": "2 us"}},
        "by load, chunked prefill": {"order": "by_load", "prefill_chunk_tokens": 16, "batch": 4},
        "micro-batches": {"batching": {"name": "micro_batches", "count": 2}, "batch": 4},
    }
    for name, settings in others.items():
        found[name] = _nano(**{"cache": {"frac": 0.25}, **settings})
    return found


def facts(values: Values) -> dict[str, object]:
    """Run a scenario and return what is kept of it: whole numbers, and digests of those by layer and by request."""
    result = simulate(build_scenario(values, "golden"))
    return {
        **{name: result.summary[name] for name in _FACTS},
        "layers_sha256": _digest([{name: row[name] for name in _LAYER_FACTS} for row in result.layers]),
        "requests_sha256": _digest(request_rows(result)),
    }


def _example(name: str) -> Values:
    return read_scenario(REPOSITORY / "examples" / name)


def _nano(**settings: object) -> Values:
    trace = str(REPOSITORY / "traces" / "nano" / "trace.safetensors")
    return {"trace": trace, "model": "moesim-nano", "hardware": "rtx-4090", "max_tokens": 120, "seed": 7, **settings}


def _digest(rows: object) -> str:
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()
