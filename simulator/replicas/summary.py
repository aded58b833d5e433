"""What a result says of each replica, and of how unlike they are."""

from collections.abc import Mapping, Sequence

from simulator.metrics.counters import Counters
from simulator.metrics.littles_law import littles_law
from simulator.replicas.group import Replica
from simulator.scenario import ReplicasChoice

NS_PER_S = 10**9
IMBALANCE = ("requests", "tokens", "gpu_busy_frac", "mean_in_system")


def summarise_replicas(choice: ReplicasChoice, replicas: Sequence[Replica]) -> dict[str, object]:
    """Return the key `replicas` of a summary: a row for each, and for some columns the largest over the mean.

    `given` counts what the router has sent, `requests` of these what the replica has taken by the end of the run.
    """
    rows = [_row(at, replica, replica.engine.snapshot()) for at, replica in enumerate(replicas)]
    return {
        "count": choice.count,
        "router": {"name": choice.router.name, **choice.router.parameters},
        "sessions": choice.sessions,
        "largest_over_mean": {name: _largest_over_mean([_number(row[name]) for row in rows]) for name in IMBALANCE},
        "each": rows,
    }


def flat_row(row: Mapping[str, object]) -> dict[str, object]:
    """Return a replica's row for a CSV."""
    flat: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            stem, _, unit = key.rpartition("_")
            flat |= {f"{stem}_{name}_{unit}": "" if part is None else part for name, part in value.items()}
        else:
            flat[key] = "" if value is None else value
    return flat


def _row(at: int, replica: Replica, counters: Counters) -> dict[str, object]:
    service, now_ns = replica.service, counters.now_ns
    record, memory = service.record, service.memory
    classes = record.classes.values()
    accesses, hits = sum(counters.accesses), sum(counters.hits)
    stays = [
        (request.arrival.arrival_ns, request.finished_ns if request.finished else None)
        for request in record.requests
        if not request.is_refused
    ]
    law = littles_law(stays, record.waiting_ns + record.running_ns, now_ns)
    return {
        "replica": at,
        "given": replica.inbox.num_given,
        "requests": len(record.requests),
        "finished": record.num_finished,
        "refused": sum(sum(one.refused.values()) for one in classes),
        "in_system_at_end": service.in_system(),
        "preemptions": sum(one.num_preemptions for one in classes),
        "tokens": counters.output_tokens,
        "prefill_tokens": counters.prefill_tokens,
        "gpu_busy_frac": counters.work_ns() / now_ns if now_ns else None,
        "h2d_busy_frac": counters.link_busy_ns / now_ns if now_ns else None,
        "idle_frac": counters.idle_ns / now_ns if now_ns else None,
        "accesses": accesses,
        "hit_frac": hits / accesses if accesses else None,
        "mean_in_queue": record.waiting_ns / now_ns if now_ns else None,
        "mean_running": record.running_ns / now_ns if now_ns else None,
        "mean_in_system": law.mean_number,
        "mean_stay_s": law.mean_stay_s,
        "littles_law_residual_ns": law.residual_ns,
        "kv_peak_bytes": memory.peak_bytes,
        "queueing_s": service.queueing.summary_s(),
        "ttft_s": service.ttft.summary_s(),
        "tpot_s": service.tpot.summary_s(),
    }


def _largest_over_mean(values: Sequence[float]) -> float | None:
    """Return 1 where all are alike; None where there is nothing."""
    total = sum(values)
    return max(values) * len(values) / total if total else None


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0.0
