"""What a search for the capacity says, as plain values with their units in the keys."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from statistics import fmean

from simulator.capacity.keeps import criterion
from simulator.capacity.run import Capacity, Probe
from simulator.capacity.search import MOST_DOUBLINGS, contradictions

_RATES = ("goodput_requests_per_s", "throughput_requests_per_s", "throughput_tokens_per_s")
_LATENCIES = {"ttft": ("p50", "p99"), "tpot": ("mean", "p99"), "queueing": ("p50", "p99")}


def capacity_facts(
    found: Capacity, source: str, scenario: Mapping[str, object], *, share: float, tolerance: float
) -> dict[str, object]:
    """Return what `capacity.json` holds: the rate that is sustained, the next above that is not, and each probe."""
    rows = [_row(probe) for probe in found.probes]
    of_factor = {row["rate_factor"]: row["offered_requests_per_s"] for row in rows}
    bracket = found.bracket
    kept = None if bracket is None else bracket.kept
    not_kept = None if bracket is None else bracket.not_kept
    summary = found.probes[0].summaries[0]
    return {
        "moesim_version": version("moesim"),
        "source": source,
        "model": summary["model"],
        "hardware": summary["hardware"],
        "scenario": dict(scenario),
        "criterion": criterion(found.promised, share),
        "share": share,
        "tolerance": tolerance,
        "seeds": list(found.seeds),
        "partial": bracket is None,
        "sustained_requests_per_s": of_factor.get(kept),
        "sustained_rate_factor": kept,
        "not_sustained_requests_per_s": of_factor.get(not_kept),
        "not_sustained_rate_factor": not_kept,
        "probes": rows,
        "warnings": _warnings(found),
    }


def _row(probe: Probe) -> dict[str, object]:
    """Return the means of a probe over its replications; of a figure that some replication lacks, None."""
    services = [_mapping(summary["service"]) for summary in probe.summaries]
    steady = [_mapping(service["steady"]) for service in services]
    latencies = {
        f"{name}_{part}_s": _mean([_mapping(one[f"{name}_s"])[part] for one in steady])
        for name, parts in _LATENCIES.items()
        for part in parts
    }
    return {
        "rate_factor": probe.factor,
        "offered_requests_per_s": _mean([service["offered_requests_per_s"] for service in services]),
        "is_sustained": probe.is_kept,
        "kept_share": probe.kept_share,
        "backlog_growth_frac": _mean([one["backlog_growth_frac"] for one in steady]),
        **{name: _mean([_mapping(one[name])["mean"] for one in steady]) for name in _RATES},
        **latencies,
        "arrived": sum(_whole(service["arrived"]) for service in services),
        "refused": sum(_whole(count) for service in services for count in _mapping(service["refused"]).values()),
        "gpu_busy_frac": _mean([_mapping(summary["busy_frac"])["gpu"] for summary in probe.summaries]),
        "is_settled": all(_mapping(one["warmup"])["is_settled"] for one in steady),
    }


def _warnings(found: Capacity) -> list[str]:
    warnings = list(
        dict.fromkeys(text for probe in found.probes for one in probe.summaries for text in _texts(one["warnings"]))
    )
    against = contradictions([(probe.factor, probe.is_kept) for probe in found.probes])
    if against:
        listed = ", ".join(f"{factor:g}" for factor in against)
        warnings.append(f"not sustained at {listed} times the rate, although more is: chance; name more requests")
    bracket = found.bracket
    if bracket is None:
        warnings.append("interrupted: the search did not end, and says no more than its probes")
    elif bracket.not_kept is None:
        warnings.append(
            f"sustained at 2**{MOST_DOUBLINGS} times the rate: so few requests are answered even if they all come at once; "
            "name more requests"
        )
    elif bracket.kept is None:
        warnings.append(
            f"not sustained at a 2**{MOST_DOUBLINGS}th of the rate either: one request by itself does not keep to its SLO"
        )
    return warnings


def _mean(values: Sequence[object]) -> float | None:
    numbers = [value for value in values if isinstance(value, int | float)]
    return fmean(numbers) if numbers and len(numbers) == len(values) else None


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, Sequence)
    return [str(item) for item in value]


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
