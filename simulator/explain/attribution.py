"""Where the time went: the GPU stream's by cause, and in a service the requests' as well, the largest first."""

from collections.abc import Mapping

from simulator.metrics.counters import ATTRIBUTION, NUM_WORK
from simulator.report import CAUSES

_REQUEST_CAUSES = {"queue": "in the queue", "blocked": "blocked by steps of others", "idle": "nothing to do"}
_NS_PER_S = 10**9

Row = Mapping[str, object]


def time_by_cause(summary: Mapping[str, object]) -> list[Row]:
    """Divide the makespan among what the GPU stream did or waited for; causes that took no time are left out."""
    return _rows(_whole_numbers(summary["attribution_ns"]), summary["tokens"])


def request_time_by_cause(summary: Mapping[str, object]) -> list[Row]:
    """Divide the time of a service's finished requests, arrival to last token; empty for a closed batch."""
    service = summary.get("service")
    if not isinstance(service, Mapping):
        return []
    total: dict[str, int] = {}
    for one in service["classes"].values():
        for cause, spent_ns in _whole_numbers(one["stalls_ns"]).items():
            total[cause] = total.get(cause, 0) + spent_ns
    return _rows(total, summary["tokens"])


def work_frac(summary: Mapping[str, object]) -> float | None:
    """Return the share of the makespan in which the GPU stream was at work, of a service while there was something to do."""
    spent = _whole_numbers(summary["attribution_ns"])
    whole = sum(spent.values()) - spent.get("idle", 0)
    return sum(spent[cause] for cause in ATTRIBUTION[:NUM_WORK]) / whole if whole else None


def _rows(spent: Mapping[str, int], tokens: object) -> list[Row]:
    whole = sum(spent.values())
    assert isinstance(tokens, int)
    return [
        {
            "cause": cause,
            "words": _REQUEST_CAUSES.get(cause) or CAUSES.get(cause, cause),
            "time_ns": spent_ns,
            "frac": spent_ns / whole,
            "per_token_s": spent_ns / _NS_PER_S / tokens if tokens else None,
        }
        for cause, spent_ns in sorted(spent.items(), key=lambda item: (-item[1], item[0]))
        if spent_ns
    ]


def _whole_numbers(values: object) -> dict[str, int]:
    assert isinstance(values, Mapping)
    return {str(cause): int(spent_ns) for cause, spent_ns in values.items()}
