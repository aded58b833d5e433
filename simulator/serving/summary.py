"""What a service adds to a run's summary: classes, goodput, memory, and quantities over time."""

from collections.abc import Mapping, Sequence

from simulator.metrics.counters import Counters
from simulator.metrics.goodput import PROMISES
from simulator.metrics.littles_law import littles_law
from simulator.replicas.whole import Whole
from simulator.serving.record import OfClass
from simulator.serving.service import Service
from simulator.serving.steady import steady_state

NS_PER_S = 10**9


def summarise_service(service: Service | Whole, counters: Counters) -> dict[str, object]:
    """Return the keys that a service has beside, or in place of, those of a closed batch.

    Of several replicas, memory is that of the one that used most of it, numbers of requests are those of all, and shares of
    busy time means.

    `attribution_ns` also holds the time in which there was nothing to do. `requests.stalls_ns` divide the time of all
    finished requests, from arrival to the last token: in the queue, blocked by steps without them, and by cause.
    """
    record, memory, stop = service.record, service.memory, service.stop
    classes = record.classes
    now_ns = counters.now_ns
    stays = [
        (request.arrival.arrival_ns, request.finished_ns if request.finished else None)
        for request in record.requests
        if not request.is_refused
    ]
    law = littles_law(stays, record.waiting_ns + record.running_ns, now_ns)
    attribution_ns = counters.attribution_ns() | {"kv_swap": counters.kv_swap_ns, "idle": counters.idle_ns}
    finished = sum(one.num_finished for one in classes.values())
    in_slo = sum(one.num_in_slo for one in classes.values())
    return {
        "attribution_s": {cause: value / NS_PER_S for cause, value in attribution_ns.items()},
        "attribution_ns": attribution_ns,
        "queueing_s": service.queueing.summary_s(),
        "service": {
            "stopped_by": stop.reason or "end of workload",
            "partial": stop.is_partial,
            "arrived": sum(one.num_arrived for one in classes.values()),
            "finished": finished,
            "in_system_at_end": service.in_system(),
            "refused": {
                reason: sum(one.refused[reason] for one in classes.values()) for reason in ("too_long", "queue_full")
            },
            "preemptions": sum(one.num_preemptions for one in classes.values()),
            "offered_requests_per_s": _offered_per_s(service),
            "throughput_requests_per_s": _per_s(finished, now_ns),
            "goodput_requests_per_s": _per_s(in_slo, now_ns),
            "goodput_tokens_per_s": _per_s(sum(one.tokens_in_slo for one in classes.values()), now_ns),
            "littles_law": {
                "mean_in_system": law.mean_number,
                "arrivals_per_s": law.arrivals_per_s,
                "mean_stay_s": law.mean_stay_s,
                "residual_ns": law.residual_ns,
            },
            "mean_in_queue": record.waiting_ns / now_ns if now_ns else None,
            "mean_running": record.running_ns / now_ns if now_ns else None,
            "kv_out_bytes": counters.kv_out_bytes,
            "kv_in_bytes": counters.kv_in_bytes,
            "kv_capacity_bytes": memory.capacity_bytes,
            "kv_peak_bytes": memory.peak_bytes,
            "expert_slots_given_up": memory.num_given_up,
            "expert_slots_taken_back": memory.num_taken_back,
            "classes": {name: _of_class(classes[name], record.causes, now_ns) for name in sorted(classes)},
            "steady": steady_state(
                record, service.slos, warmup=service.warmup, end_ns=now_ns, is_whole=stop.reason is None
            ),
            "over_time": _over_time(service, now_ns),
        },
    }


def _offered_per_s(service: Service | Whole) -> float | None:
    """Return how fast requests arrived: gaps over the time from the first to the last."""
    requests = service.requests
    if len(requests) < 2:
        return None
    return _per_s(len(requests) - 1, requests[-1].arrival.arrival_ns - requests[0].arrival.arrival_ns)


def _of_class(one: OfClass, causes: Sequence[str], now_ns: int) -> Mapping[str, object]:
    return {
        "arrived": one.num_arrived,
        "finished": one.num_finished,
        "refused": sum(one.refused.values()),
        "preemptions": one.num_preemptions,
        "in_slo": one.num_in_slo,
        "missed": {promise: one.missed[promise] for promise in PROMISES if promise != "unfinished"},
        "in_slo_frac": one.num_in_slo / one.num_finished if one.num_finished else None,
        "goodput_requests_per_s": _per_s(one.num_in_slo, now_ns),
        "queueing_s": one.queueing.summary_s(),
        "ttft_s": one.ttft.summary_s(),
        "itl_s": one.itl.summary_s(),
        "tpot_s": one.tpot.summary_s(),
        "e2e_s": one.e2e.summary_s(),
        "stalls_ns": {
            "queue": one.waited_ns,
            "blocked": one.blocked_ns,
            **dict(zip(causes, one.stalls_ns, strict=True)),
        },
    }


def _over_time(service: Service | Whole, now_ns: int) -> Mapping[str, object]:
    """Return mean values by bin; the last bin may be cut short by the end of the run."""
    series = service.record.series
    width_ns, columns = series.width_ns, list(zip(*series.bins, strict=True)) or [()] * len(series.names)
    lengths = [min(width_ns, now_ns - at * width_ns) for at in range(len(series.bins))]
    means = [[value / length for value, length in zip(column, lengths, strict=True)] for column in columns]
    named = dict(zip(series.names, means, strict=True))
    return {
        "bin_s": width_ns / NS_PER_S,
        "gpu_busy_frac": [busy / service.num_replicas for busy in named["gpu_busy_ns"]],
        "h2d_busy_frac": [busy / service.num_replicas for busy in named["h2d_busy_ns"]],
        "running": named["running_ns"],
        "waiting": named["waiting_ns"],
        "kv_bytes": named["kv_bytes_ns"],
        "expert_slots": named["expert_slots_ns"],
        "tokens_per_s": [value * NS_PER_S for value in named["tokens_out"]],
    }


def _per_s(count: int, time_ns: int) -> float | None:
    return count * NS_PER_S / time_ns if time_ns else None
