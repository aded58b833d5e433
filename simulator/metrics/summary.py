"""The summary of a run: plain values, units in the keys."""

from simulator.metrics.collector import Collector
from simulator.metrics.counters import Counters

NS_PER_S = 10**9


def summarise(
    measured: Counters,
    collector: Collector,
    *,
    warmup_ns: int,
    expert_bytes: int,
    transfer_ns: int,
    unused_prefetches: int,
    num_cpu_workers: int,
) -> dict[str, object]:
    """Return the summary of what was counted after the warm-up.

    `tokens` are output tokens: one for each prefill, one for each decoded token. `attribution_s` divides the makespan by
    cause without remainder; `attribution_ns` are the same whole numbers. Of the prefetches issued, those that a gate
    found resident are `useful`, those that it found in flight `late`, those evicted before any use `wasted`;
    `unused_at_end` were none of these when the run ended. `dropped` counts attempts for which no slot could be had.
    Bytes are those of transfers that ended; a prefetch that the end of the run cuts short counts as busy time alone.
    """
    makespan_ns = measured.now_ns
    accesses, hits = sum(measured.accesses), sum(measured.hits)
    attribution_ns = measured.attribution_ns()
    work_ns = sum(attribution_ns[cause] for cause in ("expert_compute", "non_expert_compute", "step_compute"))
    work_ns += attribution_ns["runtime_overhead"]
    tokens = measured.output_tokens
    return {
        "makespan_ns": makespan_ns,
        "warmup_ns": warmup_ns,
        "tokens": tokens,
        "prefill_tokens": measured.prefill_tokens,
        "steps": measured.steps,
        "decode_steps": measured.decode_steps,
        "requests": len(collector.requests),
        "requests_finished": sum(request.finished for request in collector.requests),
        "throughput_tokens_per_s": tokens * NS_PER_S / makespan_ns if makespan_ns else None,
        "tpot_s": collector.tpot.summary_s(),
        "itl_s": collector.itl.summary_s(),
        "ttft_s": collector.ttft.summary_s(),
        "e2e_s": collector.e2e.summary_s(),
        "accesses": accesses,
        "hits": hits,
        "late_hits": sum(measured.late_hits),
        "misses": sum(measured.misses),
        "hit_frac": hits / accesses if accesses else None,
        "late_hit_frac": sum(measured.late_hits) / accesses if accesses else None,
        "cpu_experts": sum(measured.cpu_experts),
        "wave_fetches": measured.wave_fetches,
        "h2d_demand_bytes": measured.demand_transfers * expert_bytes,
        "h2d_prefetch_bytes": measured.prefetch_transfers * expert_bytes,
        "transfer_ns": transfer_ns,
        "prefetches": {
            "issued": measured.prefetches_issued,
            "useful": measured.prefetches_useful,
            "late": measured.prefetches_late,
            "wasted": measured.prefetches_wasted,
            "dropped": measured.prefetches_dropped,
            "unused_at_end": unused_prefetches,
        },
        "busy_frac": {
            "gpu": work_ns / makespan_ns if makespan_ns else None,
            "h2d": measured.link_busy_ns / makespan_ns if makespan_ns else None,
            "cpu": measured.cpu_busy_ns / (num_cpu_workers * makespan_ns) if makespan_ns else None,
        },
        "attribution_s": {cause: value / NS_PER_S for cause, value in attribution_ns.items()},
        "attribution_ns": attribution_ns,
    }
