"""The summary of a run: plain values, units in the keys."""

from collections.abc import Sequence
from typing import Protocol

from simulator.losses import WHOLE_MASS
from simulator.metrics.counters import Counters
from simulator.metrics.distribution import Distribution
from simulator.workload.request import Request

NS_PER_S = 10**9


class Latencies(Protocol):
    """What became of requests."""

    @property
    def requests(self) -> Sequence[Request]:
        """Those that took a place in the batch, or have arrived."""

    @property
    def ttft(self) -> Distribution:
        """Time to the first output token."""

    @property
    def itl(self) -> Distribution:
        """Time between output tokens."""

    @property
    def tpot(self) -> Distribution:
        """A request's mean time between output tokens."""

    @property
    def e2e(self) -> Distribution:
        """Time to the last output token."""


def summarise(
    measured: Counters,
    collector: Latencies,
    *,
    warmup_ns: int,
    expert_bytes: int,
    transfer_ns: int,
    low_expert_bytes: int,
    unused_prefetches: int,
    num_cpu_workers: int,
    num_machines: int = 1,
) -> dict[str, object]:
    """Return the summary of what was counted after the warm-up.

    `tokens` are output tokens: one for each prefill, one for each decoded token. `attribution_s` divides the makespan by
    cause without remainder; `attribution_ns` are the same whole numbers. Of the prefetches issued, those that a gate
    found resident are `useful`, those that it found in flight `late`, those evicted before any use `wasted`;
    `unused_at_end` were none of these when the run ended. `dropped` counts attempts for which no slot could be had.
    `cancelled` counts those called off before they began. Bytes are those of transfers that ended; a prefetch that the end
    of the run cuts short counts as busy time alone. `loss` is what lossy policies did to the output: shares of the gate's
    mass, over all tokens and layers (`..._cubed_...`: the mean of a token's share cubed); see `simulator.losses`.
    `measured` may be that of several machines alike, whose times of work and of waiting then add up to so many makespans.
    """
    makespan_ns = measured.now_ns
    machines_ns = makespan_ns * num_machines
    accesses, hits = sum(measured.accesses), sum(measured.hits)
    attribution_ns = measured.attribution_ns()
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
        "deferred_experts": sum(measured.deferred_experts),
        "low_precision_experts": sum(measured.low_experts),
        "experts_read_in_place": measured.in_place_transfers,
        "wave_fetches": measured.wave_fetches,
        "h2d_demand_bytes": measured.demand_transfers * expert_bytes,
        "h2d_prefetch_bytes": measured.prefetch_transfers * expert_bytes,
        "h2d_low_precision_bytes": measured.low_transfers * low_expert_bytes,
        "h2d_in_place_bytes": measured.in_place_transfers * expert_bytes,
        "d2h_write_back_bytes": measured.write_backs * expert_bytes,
        "transfer_ns": transfer_ns,
        "prefetches": {
            "issued": measured.prefetches_issued,
            "useful": measured.prefetches_useful,
            "late": measured.prefetches_late,
            "wasted": measured.prefetches_wasted,
            "dropped": measured.prefetches_dropped,
            "cancelled": measured.prefetches_cancelled,
            "unused_at_end": unused_prefetches,
        },
        "loss": _loss(measured),
        "busy_frac": {
            "gpu": measured.work_ns() / machines_ns if machines_ns else None,
            "h2d": measured.link_busy_ns / machines_ns if machines_ns else None,
            "d2h": (measured.write_back_busy_ns + measured.kv_out_ns) / machines_ns if machines_ns else None,
            "cpu": measured.cpu_busy_ns / (num_cpu_workers * machines_ns) if machines_ns else None,
        },
        "attribution_s": {cause: value / NS_PER_S for cause, value in attribution_ns.items()},
        "attribution_ns": attribution_ns,
    }


def summarise_host_cache(
    measured: Counters, *, num_slots: int, num_experts: int, expert_bytes: int, read_ns: int
) -> dict[str, object]:
    """Return what became of host memory as a cache of experts, and what was read from NVMe.

    Accesses are fetches to the GPU, of experts that it had not, and experts that the CPU computes; a late hit was being
    read, or queued for it, when it was asked for. Bytes are those of reads that ended.
    """
    makespan_ns = measured.now_ns
    accesses = measured.host_hits + measured.host_late_hits + measured.host_misses
    return {
        "experts": num_slots,
        "bytes": num_slots * expert_bytes,
        "frac": num_slots / num_experts,
        "hits": measured.host_hits,
        "late_hits": measured.host_late_hits,
        "misses": measured.host_misses,
        "hit_frac": measured.host_hits / accesses if accesses else None,
        "evictions": measured.host_evictions,
        "reads_ahead": measured.reads_ahead,
        "reads_ahead_used": measured.reads_ahead_used,
        "nvme_reads": measured.nvme_reads,
        "nvme_read_bytes": measured.nvme_reads * expert_bytes,
        "nvme_read_ns": read_ns,
        "nvme_busy_ns": measured.nvme_busy_ns,
        "nvme_busy_frac": measured.nvme_busy_ns / makespan_ns if makespan_ns else None,
    }


def _loss(measured: Counters) -> dict[str, object]:
    """Return what was done to the gates' picks, as shares of their mass."""
    whole = measured.routed_tokens * measured.num_layers * WHOLE_MASS
    masses = {
        "dropped": measured.dropped_mass,
        "substituted": measured.substituted_mass,
        "unlike": measured.unlike_mass,
        "dropped_cubed": measured.dropped_cubed_mass,
        "substituted_cubed": measured.substituted_cubed_mass,
        "low_precision": measured.low_mass,
        "deferred": measured.deferred_mass,
    }
    return {
        **{f"{name}_mass_frac": sum(of_layer) / whole if whole else None for name, of_layer in masses.items()},
        "dropped_picks": sum(measured.dropped_picks),
        "substituted_picks": sum(measured.substituted_picks),
    }
