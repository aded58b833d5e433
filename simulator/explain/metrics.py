"""The figures of a run that changes are judged by, and what counts as better."""

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.compare.facts import LOSSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure of a summary: its name with its unit, its name for people, and where it stands. Of a rate more is better."""

    name: str
    words: str
    path: tuple[str, ...]
    is_rate: bool = False


METRICS = (
    Metric(name="tpot_mean_s", words="mean TPOT", path=("tpot_s", "mean")),
    Metric(name="tpot_p50_s", words="median TPOT", path=("tpot_s", "p50")),
    Metric(name="tpot_p99_s", words="p99 of TPOT", path=("tpot_s", "p99")),
    Metric(name="itl_p99_s", words="p99 of ITL", path=("itl_s", "p99")),
    Metric(name="ttft_mean_s", words="mean TTFT", path=("ttft_s", "mean")),
    Metric(name="ttft_p99_s", words="p99 of TTFT", path=("ttft_s", "p99")),
    Metric(name="e2e_mean_s", words="mean E2E latency", path=("e2e_s", "mean")),
    Metric(name="throughput_tokens_per_s", words="throughput", path=("throughput_tokens_per_s",), is_rate=True),
    Metric(name="goodput_requests_per_s", words="goodput", path=("service", "goodput_requests_per_s"), is_rate=True),
)
METRIC = {metric.name: metric for metric in METRICS}
THROUGHPUT = METRIC["throughput_tokens_per_s"]


def figures_of(summary: Mapping[str, object]) -> dict[str, float | None]:
    """Return the metrics of a summary by name; None for what the run has not."""
    return {metric.name: _at(summary, metric.path) for metric in METRICS}


def _at(summary: Mapping[str, object], path: tuple[str, ...]) -> float | None:
    here: object = summary
    for key in path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return float(here) if isinstance(here, int | float) else None


def lost_mass_frac(summary: Mapping[str, object]) -> float:
    """Return the share of the gates' mass that lossy policies dropped, made unlike, computed in low precision or late."""
    loss = summary["loss"]
    assert isinstance(loss, Mapping)
    return float(sum(share for name in LOSSES if isinstance(share := loss.get(name), int | float)))


def gain_frac(metric: Metric, before: float | None, after: float | None) -> float | None:
    """Return by which share of `before` a metric has become better; below zero if worse, None where it cannot be told."""
    if before is None or after is None or not before:
        return None
    return (after - before) / before if metric.is_rate else (before - after) / before


def objective_of(summary: Mapping[str, object], *, has_slo: bool) -> Metric:
    """Return what a run should be judged by: mean TPOT, or TTFT where nothing is decoded.

    A service that misses objectives is judged by its goodput; one that meets none of them, by the p99 of its TTFT.
    """
    service = summary.get("service")
    figures = figures_of(summary)
    if has_slo and isinstance(service, Mapping):
        classes = service["classes"]
        assert isinstance(classes, Mapping)
        if any(one["in_slo"] < one["arrived"] for one in classes.values()):
            return METRIC["goodput_requests_per_s" if figures["goodput_requests_per_s"] else "ttft_p99_s"]
    return METRIC["tpot_mean_s" if figures["tpot_mean_s"] is not None else "ttft_mean_s"]
