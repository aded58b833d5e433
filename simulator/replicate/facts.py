"""What replications say, as plain values: each figure's mean, its interval, and the figure of each replication."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from simulator.metrics.interval import mean_interval
from simulator.replicate.measures import measures
from simulator.replicate.run import Replications

CONFIDENCE = 0.95
HOW = "Student's t interval of independent replications; each figure's interval by itself"
SAME = (
    "all replications came out the same: nothing in this scenario varies with the seed, and the intervals say nothing; vary "
    "arrivals or lengths, or use a trace of more sequences"
)


def replication_facts(found: Replications, source: str, scenario: Mapping[str, object]) -> dict[str, object]:
    """Return what `moesim run --replications` prints as JSON."""
    summaries = found.summaries
    values = columns([measures(summary) for summary in summaries])
    warnings = list(dict.fromkeys(text for summary in summaries for text in _texts(summary["warnings"])))
    if all(len(set(column)) == 1 for column in values.values()):
        warnings.insert(0, SAME)
    return {
        "moesim_version": version("moesim"),
        "source": source,
        "model": summaries[0]["model"],
        "hardware": summaries[0]["hardware"],
        "scenario": dict(scenario),
        "replications": len(found.values),
        "seeds": [one["seed"] for one in found.values],
        "notes": list(found.notes),
        "confidence": CONFIDENCE,
        "intervals": HOW,
        "measures": {name: told(column) | {"values": list(column)} for name, column in values.items()},
        "warnings": warnings,
    }


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return each figure's values, one for each replication; figures that some replication lacks are left out."""
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    return {name: [row[name] for row in rows] for name in names}


def told(values: Sequence[float], confidence: float = CONFIDENCE) -> dict[str, object]:
    """Return the mean of some replications with its interval."""
    interval = mean_interval(values, confidence)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "half_width": interval.half_width}


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, Sequence)
    return [str(item) for item in value]
