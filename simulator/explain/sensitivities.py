"""What each change makes of each metric, in pairs with the run as it is."""

from collections.abc import Mapping, Sequence

from simulator.explain.bounds import BASE, Bound
from simulator.explain.command import command_of, set_texts
from simulator.explain.knobs.change import Change
from simulator.explain.metrics import METRIC, Metric, figures_of, gain_frac, lost_mass_frac
from simulator.points.point import PointResult

Row = Mapping[str, object]


def sensitivity_rows(
    changes: Sequence[Change],
    results: Sequence[PointResult],
    *,
    before: Mapping[str, object],
    objective: Metric,
    scenario: str,
    given: Sequence[str],
) -> list[dict[str, object]]:
    """Return a row for each change; `before` is the summary of the run as it is.

    `change_frac` are changes of metrics as shares of what they were, `gain_frac` the share by which the objective is better.
    """
    return [
        {
            "knob": change.knob,
            "name": change.name,
            "figures": dict(change.figures),
            "is_ideal": change.is_ideal,
            "price": change.price,
            **_judged(change.settings, result, before, objective, scenario, given),
        }
        for change, result in zip(changes, results, strict=True)
    ]


def bound_rows(
    bounds: Sequence[Bound],
    results: Sequence[PointResult],
    *,
    before: Mapping[str, object],
    objective: Metric,
    scenario: str,
    given: Sequence[str],
) -> list[dict[str, object]]:
    """Return a row for each idealised run; `gap_closed_frac` is how far the run has come from on demand to it."""
    rows: list[dict[str, object]] = [
        {
            "bound": bound.name,
            "words": bound.words,
            **_judged(bound.settings, result, before, objective, scenario, given),
        }
        for bound, result in zip(bounds, results, strict=True)
    ]
    reached = {row["bound"]: _objective(row, objective) for row in rows}
    now, base = figures_of(before)[objective.name], reached[BASE]
    for row in rows:
        best = _objective(row, objective)
        is_gap = now is not None and base is not None and best is not None and row["bound"] != BASE and best != base
        has_gap = is_gap and (gain_frac(objective, base, best) or 0) > 0
        row["gap_closed_frac"] = (base - now) / (base - best) if has_gap and base and now and best else None
    return rows


def _objective(row: Row, objective: Metric) -> float | None:
    metrics = row["metrics"]
    assert isinstance(metrics, Mapping)
    value = metrics.get(objective.name)
    return value if isinstance(value, float) else None


def _judged(
    settings: Mapping[str, object],
    result: PointResult,
    before: Mapping[str, object],
    objective: Metric,
    scenario: str,
    given: Sequence[str],
) -> dict[str, object]:
    old = figures_of(before)
    new: Mapping[str, float | None] = {} if result.summary is None else figures_of(result.summary)
    return {
        "status": "failed" if result.summary is None else "ok",
        "reason": result.reason,
        "gain_frac": gain_frac(objective, old[objective.name], new.get(objective.name)),
        "metrics": dict(new),
        "lost_mass_frac": None if result.summary is None else lost_mass_frac(result.summary),
        "change_frac": {
            name: _negated(gain_frac(METRIC[name], old[name], value), METRIC[name]) for name, value in new.items()
        },
        "new_warnings": _new_warnings(before, result.summary),
        "set": set_texts(settings),
        "command": command_of(scenario, given, settings),
    }


def _negated(gain: float | None, metric: Metric) -> float | None:
    """Return the change of a metric, of which its gain tells; zero stays without a sign."""
    if gain is None or metric.is_rate:
        return gain
    return -gain if gain else 0.0


def _new_warnings(before: Mapping[str, object], after: Mapping[str, object] | None) -> list[str]:
    old = before["warnings"]
    new = [] if after is None else after["warnings"]
    assert isinstance(old, list)
    assert isinstance(new, list)
    return [str(warning) for warning in new if warning not in old]
