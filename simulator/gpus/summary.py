"""What several GPUs add to a run's summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator.cache import ExpertCache
from simulator.gpus.choice import GpusChoice
from simulator.gpus.homes import Homes
from simulator.metrics.counters import Counters

NS_PER_S = 10**9
_WORK = ("expert_compute", "non_expert_compute", "step_compute", "runtime_overhead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a summary says of a run on several GPUs beside its counts."""

    choice: GpusChoice
    homes: Homes
    caches: Sequence[ExpertCache]
    expert_bytes: int
    num_experts: int
    upstream_bytes_per_s: int
    warnings: Sequence[str]


def summarise_gpus(
    summary: Mapping[str, object], measured: Counters, each: Sequence[Counters], facts: Facts
) -> dict[str, object]:
    """Return the summary of a run, with `gpus`; `each` are the counts of each GPU, `measured` those of the run.

    Counts and bytes of the run are those of all GPUs together, busy shares their means. `attribution_ns` of the run follows
    the critical path: from one meeting of the GPUs to the next, what the last one did. That of a GPU has its waits for
    others as `barrier`. `imbalance` is the most that a GPU had, in means. Of consecutive layers' picks of a token,
    `transitions.cross_gpu` are those that two GPUs computed.
    """
    makespan_ns, bytes_each = measured.now_ns, facts.expert_bytes
    attribution_ns = {**_numbers(summary["attribution_ns"]), "all_to_all": measured.all_to_all_ns}
    rows = [
        _row(at, counts, cache, bytes_each) for at, (counts, cache) in enumerate(zip(each, facts.caches, strict=True))
    ]
    host_bytes = sum(_host_transfers(counts) for counts in each) * bytes_each
    num_slots = sum(cache.num_slots for cache in facts.caches)
    homes = facts.homes
    cache = summary["cache"]
    assert isinstance(cache, Mapping)
    warnings = [str(text) for text in _texts(summary["warnings"])]
    if summary["energy"] is not None or summary["price"] is not None:
        warnings.append("energy and price are left out: the machine gives them for one GPU, and this run has several")
    return dict(summary) | {
        "h2d_demand_bytes": (measured.demand_transfers - measured.peer_demand_transfers) * bytes_each,
        "h2d_prefetch_bytes": (measured.prefetch_transfers - measured.peer_prefetch_transfers) * bytes_each,
        "busy_frac": _mean_busy(rows),
        "attribution_s": {cause: value / NS_PER_S for cause, value in attribution_ns.items()},
        "attribution_ns": attribution_ns,
        "cache": {
            **cache,
            "experts": num_slots,
            "bytes": num_slots * bytes_each,
            "frac": num_slots / facts.num_experts,
            "pinned_experts": sum(one.num_pinned for one in facts.caches),
            "staging_experts": sum(one.num_staging for one in facts.caches),
        },
        "energy": None,
        "price": None,
        "warnings": list(dict.fromkeys([*warnings, *facts.warnings])),
        "gpus": {
            "count": facts.choice.count,
            "experts": facts.choice.experts,
            "peers": facts.choice.peers,
            "homes": {
                "method": homes.method,
                "is_optimal": homes.is_optimal,
                "training_transitions": homes.total,
                "training_cross_gpu": homes.cut,
                "notes": list(homes.notes),
            },
            "transitions": {
                "pairs": measured.token_transitions,
                "cross_gpu": measured.cross_gpu_transitions,
                "cross_gpu_frac": _share(measured.cross_gpu_transitions, measured.token_transitions),
            },
            "all_to_all": {
                "ns": measured.all_to_all_ns,
                "bytes": measured.all_to_all_bytes,
            },
            "upstream": {
                "bytes_per_s": facts.upstream_bytes_per_s,
                "bytes": host_bytes,
                "used_frac": _share(host_bytes * NS_PER_S, facts.upstream_bytes_per_s * makespan_ns),
            },
            "peer_bytes": (measured.peer_demand_transfers + measured.peer_prefetch_transfers) * bytes_each,
            "imbalance": {
                "expert_tokens": _imbalance([counts.expert_tokens for counts in each]),
                "expert_compute": _imbalance([sum(counts.expert_compute_ns) for counts in each]),
                "h2d_busy": _imbalance([counts.link_busy_ns for counts in each]),
            },
            "each": rows,
        },
    }


def _row(gpu: int, counts: Counters, cache: ExpertCache, bytes_each: int) -> dict[str, object]:
    attribution_ns = counts.attribution_ns() | {
        "all_to_all": counts.all_to_all_ns,
        "barrier": counts.barrier_ns,
        "idle": counts.idle_ns,
    }
    work_ns = sum(attribution_ns[cause] for cause in _WORK)
    return {
        "gpu": gpu,
        "cache_experts": cache.num_slots,
        "expert_tokens": counts.expert_tokens,
        "accesses": sum(counts.accesses),
        "hits": sum(counts.hits),
        "late_hits": sum(counts.late_hits),
        "misses": sum(counts.misses),
        "h2d_bytes": _host_transfers(counts) * bytes_each,
        "peer_bytes": (counts.peer_demand_transfers + counts.peer_prefetch_transfers) * bytes_each,
        "all_to_all_sent_bytes": counts.all_to_all_bytes,
        "busy_frac": {"gpu": _share(work_ns, counts.now_ns), "h2d": _share(counts.link_busy_ns, counts.now_ns)},
        "attribution_ns": attribution_ns,
    }


def _host_transfers(counts: Counters) -> int:
    """Count the experts that came from the host."""
    from_peers = counts.peer_demand_transfers + counts.peer_prefetch_transfers
    return counts.demand_transfers + counts.prefetch_transfers - from_peers


def _mean_busy(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    busy = [row["busy_frac"] for row in rows]
    means: dict[str, object] = {"gpu": None, "h2d": None, "d2h": 0.0, "cpu": 0.0}
    for name in ("gpu", "h2d"):
        shares = [_numbers(of_gpu)[name] for of_gpu in busy]
        means[name] = None if None in shares else sum(shares) / len(shares)
    return means


def _imbalance(loads: Sequence[int]) -> float | None:
    """Return the largest load over the mean; None where there is none."""
    return max(loads) * len(loads) / sum(loads) if sum(loads) else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _numbers(value: object) -> Mapping[str, int]:
    assert isinstance(value, Mapping)
    return value


def _texts(value: object) -> Sequence[object]:
    assert isinstance(value, Sequence)
    return value
