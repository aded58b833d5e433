"""The table of a sweep: one row for each point."""

from collections.abc import Callable, Mapping, Sequence

from simulator.points.point import Point, PointResult
from simulator.sweep.command import flow_text
from simulator.sweep.metrics import chosen, flat_metrics

Row = dict[str, object]


def sweep_rows(results: Sequence[PointResult], *, metrics: Sequence[str], command: Callable[[Point], str]) -> list[Row]:
    """Return a row for each result: its place on each axis, what became of it, metrics, and how to run it again.

    All rows have the same keys; what a point has not is None. Raises ValueError for a metric that no result has.
    """
    found = [{} if result.summary is None else flat_metrics(result.summary) for result in results]
    names = list(dict.fromkeys(name for numbers in found for name in numbers))
    kept = chosen(names, metrics) if names else []
    return [
        {
            "point": place,
            **{path: cell(value) for path, value in result.point.labels.items()},
            "status": "ok" if result.summary is not None else "failed",
            "reason": result.reason,
            **{name: numbers.get(name) for name in kept},
            "warnings": _warnings(result.summary),
            "key": result.key,
            "command": command(result.point),
        }
        for place, (result, numbers) in enumerate(zip(results, found, strict=True))
    ]


def cell(value: object) -> object:
    """Return a number, a text or None as it is; anything else as a line of YAML."""
    return value if value is None or isinstance(value, int | float | str) else flow_text(value)


def _warnings(summary: Mapping[str, object] | None) -> str:
    warnings = [] if summary is None else summary["warnings"]
    assert isinstance(warnings, list)
    return "; ".join(map(str, warnings))
