"""The figures of a run that replications are compared by: numbers out of its summary, units in their names."""

from collections.abc import Mapping

_OF_A_RUN = ("tpot", "itl", "ttft", "e2e")
_PARTS = ("mean", "p50", "p99")
_OF_A_SERVICE = (
    "throughput_requests_per_s",
    "goodput_requests_per_s",
    "goodput_tokens_per_s",
    "mean_in_queue",
    "mean_running",
    "preemptions",
)
_SETTLED = ("queueing", "ttft", "tpot", "e2e")
_SETTLED_RATES = ("throughput_tokens_per_s", "throughput_requests_per_s", "goodput_requests_per_s", "kept_slo_frac")


def measures(summary: Mapping[str, object]) -> dict[str, float]:
    """Return the figures that a run has, by name. What begins with `steady_` leaves the warm-up out.

    `in_slo_frac` is the share of requests that kept to their objective among those that were answered or refused.
    """
    found: dict[str, object] = {key: summary[key] for key in ("throughput_tokens_per_s", "hit_frac")}
    for name in _OF_A_RUN:
        found |= _parts(name, summary[f"{name}_s"])
    if "service" in summary:
        service = _mapping(summary["service"])
        found |= _parts("queueing", summary["queueing_s"])
        found |= {key: service[key] for key in _OF_A_SERVICE}
        refused = sum(_number(count) for count in _mapping(service["refused"]).values())
        done = _number(service["finished"]) + refused
        in_slo = sum(_number(_mapping(one)["in_slo"]) for one in _mapping(service["classes"]).values())
        found |= {"refused": refused, "in_slo_frac": in_slo / done if done else None}
        steady = _mapping(service["steady"])
        for name in _SETTLED:
            found |= {f"steady_{key}": value for key, value in _parts(name, steady[f"{name}_s"]).items()}
        found |= {f"steady_{key}": _mapping(steady[key])["mean"] for key in _SETTLED_RATES}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _parts(name: str, values: object) -> dict[str, object]:
    return {f"{name}_{part}_s": _mapping(values)[part] for part in _PARTS}


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
