"""What is compared: the same plain numbers out of a simulated summary and out of the summaries of replays."""

import statistics
from collections.abc import Mapping, Sequence

from validation.compare.replaying import Stored

TIMES = {
    "tpot_s": ("tpot_s", "mean"),
    "itl_p50_s": ("itl_s", "p50"),
    "itl_p90_s": ("itl_s", "p90"),
    "itl_p99_s": ("itl_s", "p99"),
    "ttft_p50_s": ("ttft_s", "p50"),
}
"""Latencies by where a summary has them. TPOT is the mean over the requests."""
COUNTS = ("tokens", "steps", "accesses", "hits", "late_hits", "misses", "h2d_demand_bytes", "h2d_prefetch_bytes")
EXACT = ("hits", "late_hits", "misses")
"""The counts that are the policies' doing; late hits depend on timing, and with a prefetcher so may the others."""


def tpot_s(summary: Mapping[str, object]) -> float:
    """Return the mean TPOT of a run."""
    value = time_of(summary, "tpot_s")
    assert value is not None, "a run without TPOT is refused when it is simulated"
    return value


def time_of(summary: Mapping[str, object], name: str) -> float | None:
    """Return a latency of `TIMES` in seconds, None where nothing was counted."""
    group, key = TIMES[name]
    values = summary[group]
    assert isinstance(values, Mapping)
    value = values[key]
    return float(value) if isinstance(value, int | float) else None


def count_of(summary: Mapping[str, object], name: str) -> int:
    """Return a count of `COUNTS`, or another one."""
    value = summary[name]
    assert isinstance(value, int)
    return value


def attribution_s(summary: Mapping[str, object]) -> dict[str, float]:
    """Return the time by cause, in seconds per output token, so that runs of any length compare."""
    causes = summary["attribution_ns"]
    assert isinstance(causes, Mapping)
    tokens = max(1, count_of(summary, "tokens"))
    return {str(cause): value / tokens / 1e9 for cause, value in causes.items()}


def median_replay(replays: Sequence[Stored]) -> Stored:
    """Return the replay whose TPOT is the median (of an even number, the lower of the two): its parts add up."""
    ordered = sorted(replays, key=lambda replay: tpot_s(replay.summary))
    return ordered[(len(ordered) - 1) // 2]


def median_tpot_s(replays: Sequence[Stored]) -> float:
    """Return the median over replays of TPOT."""
    return statistics.median(tpot_s(replay.summary) for replay in replays)


def error_frac(simulated: Mapping[str, object], replays: Sequence[Stored]) -> float:
    """Return the signed error of the simulated TPOT, as a share of the measured median."""
    measured_s = median_tpot_s(replays)
    return (tpot_s(simulated) - measured_s) / measured_s
