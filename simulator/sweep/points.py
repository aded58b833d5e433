"""The points of a sweep: drawn, held against the constraints, and the values on the axes checked."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile
from simulator.model.load import load_model
from simulator.points.point import Point
from simulator.scenario import Scenario, build_scenario, set_path
from simulator.sweep.draw import Labels, count, draw
from simulator.sweep.file import Sweep

_MOST_CHECKED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The points that the constraints leave, of so many that were drawn."""

    points: Sequence[Point]
    num_drawn: int


def sweep_points(sweep: Sweep, base: Mapping[str, object]) -> Drawn:
    """Return the points of a sweep over a scenario's plain values. Raises InputError with all values that cannot be run."""
    kept = [labels for labels in draw(sweep.axes, sweep.sample) if is_allowed(sweep, labels)]
    num_drawn = count(sweep.axes, sweep.sample)
    if not kept:
        raise InputError(sweep.path, f"constraints: leave none of {num_drawn} points; loosen them")
    points = [point_of(sweep, base, labels) for labels in kept]
    require_sound(sweep, points)
    return Drawn(points=points, num_drawn=num_drawn)


def is_allowed(sweep: Sweep, labels: Labels) -> bool:
    """Tell whether the constraints leave a point. Raises InputError for one that cannot be told of it."""
    try:
        return all(constraint.allows(labels) for constraint in sweep.constraints)
    except ValueError as error:
        raise InputError(sweep.path, f"constraints: with {_shown(labels)}: {error}") from None


def point_of(sweep: Sweep, base: Mapping[str, object], labels: Labels) -> Point:
    """Return the point of a place on the axes, over a scenario's plain values."""
    values = deepcopy(dict(base))
    for path, value in labels.items():
        set_path(values, path, deepcopy(sweep.placed_value(path, value)))
    return Point(values=values, labels=labels)


def require_sound(sweep: Sweep, points: Sequence[Point]) -> None:
    """Raise InputError with all values on the axes of these points that cannot be run."""
    faults = list(dict.fromkeys(_faults(sweep, points)))
    if faults:
        raise InputError(sweep.path, faults)


def _faults(sweep: Sweep, points: Sequence[Point]) -> Iterator[str]:
    """Yield what is wrong with the first point, and with the first point of each other value of an axis.

    What only several values together can have wrong is left to the points: some of these may be well.
    """
    first = list(_point_faults(points[0]))
    if first:
        yield from (f"with {_shown(points[0].labels)}: {fault}" for fault in first)
        return
    for axis in sweep.axes:
        seen: dict[str, Point] = {}
        for point in points:
            level = _shown({path: point.labels[path] for path in axis.paths})
            seen.setdefault(level, point)
        levels = list(seen.items())
        if len(levels) > _MOST_CHECKED:
            levels = levels[: _MOST_CHECKED // 2] + levels[-_MOST_CHECKED // 2 :]
        for level, point in levels:
            yield from (f"{level}: {fault}" for fault in _point_faults(point))


def _point_faults(point: Point) -> Iterator[str]:
    """Yield what is wrong with a point's values, its model, its machine or its trace, each by itself."""
    try:
        scenario = build_scenario(point.values, "scenario")
    except InputError as error:
        yield from error.faults
        return
    if scenario.stop is not None and scenario.stop.wall_time is not None:
        yield "stop.wall_time: ends a run elsewhere each time; use stop.time, stop.tokens or stop.requests"
    for load in (_load_model, _load_machine):
        try:
            load(scenario)
        except InputError as error:
            yield from (f"{error.source}: {fault}" for fault in error.faults)
    if not Path(scenario.trace).exists():
        yield f"trace: {scenario.trace} is not there; check the path"


def _load_model(scenario: Scenario) -> None:
    load_model(scenario.model)


def _load_machine(scenario: Scenario) -> None:
    overrides = dict(scenario.hardware_set)
    if scenario.pcie is not None:
        overrides = {"link.h2d.preset": scenario.pcie, "link.d2h.preset": scenario.pcie} | overrides
    load_profile(scenario.hardware, overrides)


def _shown(labels: Mapping[str, object]) -> str:
    return ", ".join(f"{path} = {value}" for path, value in labels.items())
