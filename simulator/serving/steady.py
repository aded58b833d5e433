"""A service once it has settled: means with their confidence intervals, the warm-up left out.

Latencies are those of answered requests that arrived after the warm-up, in the order of arrival. Rates are counted between
the end of the warm-up and the last arrival, or the end of the run where it was cut off: what comes after the last arrival
only empties the service. Intervals are those of batch means.

Source: see `simulator.metrics.batch_means`.
Limits: the first values, fewer than there are batches, fill no batch and are left out of a mean; percentiles have no
interval (replications give them one); where a run is cut off, slow requests are missing among the last.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from simulator.metrics.batch_means import batch_means
from simulator.metrics.goodput import Slo
from simulator.serving.backlog import backlog_growth_frac
from simulator.serving.promises import Judgement, judged
from simulator.serving.record import Record
from simulator.serving.served import Served
from simulator.serving.warmup import Warmup, find_warmup, tpot_ns

NS_PER_S = 10**9
CONFIDENCE = 0.95
_NUM_WINDOWS = 256
_LEAST_EVENTS = 32
_TOKENS_OUT = "tokens_out"


def steady_state(
    record: Record, slos: Mapping[str, Slo], *, warmup: str, end_ns: int, is_whole: bool
) -> dict[str, object]:
    """Return what the summary says of the settled service; `is_whole` if all that was asked has been answered."""
    requests = record.requests
    cut = find_warmup(requests, warmup)
    last_ns = requests[-1].arrival.arrival_ns if requests else 0
    until_ns = last_ns if is_whole else end_ns
    settled = [request for request in requests if request.arrival.arrival_ns >= cut.until_ns]
    answered = [request for request in settled if request.finished]
    verdicts = [judged(request, slos, end_ns) for request in settled]
    kept = [float(verdict == "kept") for verdict in verdicts if verdict != "open"]
    of_all = [request for request in requests if request.finished]
    good = [request for request in of_all if judged(request, slos, end_ns) == "kept"]
    return {
        "warmup": _told(cut),
        "until_s": until_ns / NS_PER_S,
        "requests": len(answered),
        "confidence": CONFIDENCE,
        "queueing_s": _latency([one.started_ns - one.arrival.arrival_ns for one in answered]),
        "ttft_s": _latency([one.first_token_ns - one.arrival.arrival_ns for one in answered]),
        "tpot_s": _latency([tpot_ns(one) for one in answered if one.output_tokens > 1]),
        "e2e_s": _latency([one.finished_ns - one.arrival.arrival_ns for one in answered]),
        "judged": len(kept),
        "kept_slo_frac": _mean(kept),
        "kept_by_class": _by_class(settled, verdicts),
        "backlog_growth_frac": backlog_growth_frac(record),
        "arrivals_per_s": _rate([one.arrival.arrival_ns for one in settled], cut.until_ns, until_ns),
        "throughput_requests_per_s": _rate([one.finished_ns for one in of_all], cut.until_ns, until_ns),
        "goodput_requests_per_s": _rate([one.finished_ns for one in good], cut.until_ns, until_ns),
        "throughput_tokens_per_s": _tokens_per_s(record, cut.until_ns, until_ns),
    }


def _told(cut: Warmup) -> Mapping[str, object]:
    return {
        "method": cut.method,
        "until_s": cut.until_ns / NS_PER_S,
        "requests": cut.num_requests,
        "found_in": cut.found_in,
        "is_settled": cut.is_settled,
    }


def _by_class(requests: Sequence[Served], verdicts: Sequence[Judgement]) -> dict[str, Mapping[str, int]]:
    """Count, class by class, the requests that could be judged and those that got what they were promised."""
    found: dict[str, dict[str, int]] = {}
    for request, verdict in zip(requests, verdicts, strict=True):
        counts = found.setdefault(request.class_name, {"judged": 0, "kept": 0})
        counts["judged"] += verdict != "open"
        counts["kept"] += verdict == "kept"
    return {name: found[name] for name in sorted(found)}


def _mean(values: Sequence[float]) -> dict[str, object]:
    """Return a mean with its interval, which is None of fewer than 16 values."""
    found = batch_means(values, confidence=CONFIDENCE)
    if found is None:
        plain = float(np.mean(values)) if len(values) else None
        return {"mean": plain, "low": None, "high": None, "batches": 0, "are_independent": None}
    interval = found.interval
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "batches": interval.count,
        "are_independent": found.are_independent,
    }


def _latency(values_ns: Sequence[int]) -> dict[str, object]:
    values_s = np.array(values_ns, np.float64) / NS_PER_S
    quantiles = np.quantile(values_s, (0.5, 0.9, 0.99)).tolist() if len(values_s) else [None] * 3
    return _mean(values_s.tolist()) | dict(zip(("p50", "p90", "p99"), quantiles, strict=True))


def _rate(times_ns: Sequence[int], start_ns: int, stop_ns: int) -> dict[str, object]:
    """Return events per second, from their numbers in windows of equal length; few events have no interval."""
    span_ns = stop_ns - start_ns
    if span_ns < _NUM_WINDOWS:
        return _mean([])
    offsets = np.array(times_ns, np.int64) - start_ns
    within = offsets[(offsets >= 0) & (offsets < span_ns)]
    if len(within) < _LEAST_EVENTS:
        return _mean([]) | {"mean": len(within) * NS_PER_S / span_ns}
    counts = np.bincount((within * _NUM_WINDOWS // span_ns).astype(np.int64), minlength=_NUM_WINDOWS)
    return _mean((counts * (_NUM_WINDOWS * NS_PER_S / span_ns)).tolist())


def _tokens_per_s(record: Record, start_ns: int, stop_ns: int) -> dict[str, object]:
    """Return output tokens per second, from the bins of the run that lie within."""
    series = record.series
    column, width_ns = series.names.index(_TOKENS_OUT), series.width_ns
    first, last = -(-start_ns // width_ns), min(stop_ns // width_ns, len(series.bins))
    return _mean([amounts[column] * NS_PER_S / width_ns for amounts in series.bins[first:last]])
