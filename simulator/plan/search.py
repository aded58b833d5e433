"""Search a space for the cheapest choice that keeps a promise: simulate every choice, then load the best one further.

    cost by the hour = what the file says of its values + what its machine's profile says, electricity included

What breaks first: of a service, arrivals come faster and faster until a bound breaks; of a closed batch, the bound with the
least headroom.

Limits: one seed per choice; what keeps its promise by less than the spread of replications may not keep it with others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.capacity.rate import at_rate, require_scalable
from simulator.capacity.search import search
from simulator.pareto import pareto_front
from simulator.plan.promise import Bound
from simulator.plan.search_space import Space
from simulator.points.point import Point, PointResult
from simulator.points.run import Progress, run_points
from simulator.scenario import build_scenario
from simulator.sweep.metrics import chosen, flat_metrics
from simulator.sweep.points import sweep_points

_NS_PER_HOUR = 3600 * 10**9
_TOLERANCE = 0.05
_MOST_DOUBLINGS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A point of the space: its cost, its figures, and the headroom of each bound by its metric.

    `usd_per_hour` is None where it could not be run, and `reason` says why. A bound on a figure that a run does not have is
    not kept, and has no headroom.
    """

    point: Point
    usd_per_hour: float | None = None
    figures: Mapping[str, int | float] = field(default_factory=dict)
    headroom: Mapping[str, float] = field(default_factory=dict)
    keeps: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaking:
    """How much more load a choice takes: `kept` times its own, not `not_kept` times, where `broken` bounds break first.

    Without rates, of a closed batch or where no load broke a bound, either is None.
    """

    kept: float | None
    not_kept: float | None
    broken: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer: all choices, the cheapest that keeps the promise, the front of cost against the first bound's figure."""

    space: Space
    choices: Sequence[Choice]
    cheapest: Choice | None
    front: Sequence[Choice]
    breaking: Breaking | None


def search_space(
    space: Space,
    base: Mapping[str, object],
    *,
    jobs: int,
    store: Path | None = None,
    progress: Progress | None = None,
    probed: Callable[[float], None] | None = None,
) -> Found:
    """Search a space over a scenario's plain values. With a `store`, what was simulated before is taken from it.

    `progress` hears of each choice, `probed` of each load that the cheapest is tried with. Raises InputError for a space
    that cannot be run, a bound on a figure that no run has, and choices that nobody has put a price on.
    """
    points = sweep_points(space.sweep, base).points
    results = run_points(points, store=store, jobs=jobs, progress=progress)
    choices = [_choice(space, result) for result in results]
    run = [choice for choice in choices if choice.figures]
    if not run:
        reasons = list(dict.fromkeys(choice.reason for choice in choices))
        raise InputError(space.sweep.path, [f"no choice could be run: {reason}" for reason in reasons])
    _require_metrics(space, run)
    unpriced = next((choice for choice in run if choice.usd_per_hour is None), None)
    if unpriced is not None:
        raise InputError(
            space.sweep.path,
            f"prices: nobody says what {_told(unpriced.point)} costs; write prices of an axis, or set price.per_hour",
        )
    keeping = [choice for choice in run if choice.keeps]
    first = space.promise[0]
    cheapest = min(keeping, key=lambda choice: (_usd(choice), -min(choice.headroom.values())), default=None)
    compared = [choice for choice in run if first.metric in choice.figures]
    sign = 1 if first.is_most else -1
    places = pareto_front([(_usd(choice), sign * float(choice.figures[first.metric])) for choice in compared])
    return Found(
        space=space,
        choices=choices,
        cheapest=cheapest,
        front=[compared[place] for place in places],
        breaking=None if cheapest is None else _breaking(space, cheapest, store=store, probed=probed),
    )


def _choice(space: Space, result: PointResult) -> Choice:
    if result.summary is None:
        return Choice(point=result.point, reason=result.reason)
    figures = flat_metrics(result.summary)
    headroom = _headroom(space.promise, figures)
    return Choice(
        point=result.point,
        usd_per_hour=_usd_per_hour(space, result.point, result.summary),
        figures=figures,
        headroom=headroom,
        keeps=_keeps(space.promise, headroom),
    )


def _headroom(promise: Sequence[Bound], figures: Mapping[str, int | float]) -> dict[str, float]:
    return {bound.metric: bound.headroom(figures[bound.metric]) for bound in promise if bound.metric in figures}


def _keeps(promise: Sequence[Bound], headroom: Mapping[str, float]) -> bool:
    return all(headroom.get(bound.metric, -1.0) >= 0 for bound in promise)


def _usd_per_hour(space: Space, point: Point, summary: Mapping[str, object]) -> float | None:
    """Return what a choice costs by the hour; None where neither the file nor the machine says."""
    stated, price, makespan_ns = space.stated_usd_per_hour(point.labels), summary["price"], summary["makespan_ns"]
    assert isinstance(makespan_ns, int)
    if not isinstance(price, Mapping) or not makespan_ns:
        return stated
    own: float = price["total_usd"] * _NS_PER_HOUR / makespan_ns
    return own + (stated or 0.0)


def _require_metrics(space: Space, run: Sequence[Choice]) -> None:
    names = list(dict.fromkeys(name for choice in run for name in choice.figures))
    try:
        chosen(names, [bound.metric for bound in space.promise])
    except ValueError as error:
        raise InputError(space.sweep.path, f"promise: {error}") from None


def _breaking(
    space: Space, cheapest: Choice, *, store: Path | None, probed: Callable[[float], None] | None
) -> Breaking:
    """Find what breaks first, under more load where there is a load to raise."""
    tightest = min(cheapest.headroom, key=lambda metric: cheapest.headroom[metric])
    values, source = cheapest.point.values, str(space.sweep.path)
    try:
        require_scalable(build_scenario(values, source), source)
    except InputError:
        return Breaking(kept=None, not_kept=None, broken=[tightest])
    broken: dict[float, Sequence[str]] = {}

    def keeps(factor: float) -> bool:
        point = Point(values=at_rate(values, factor), labels=cheapest.point.labels)
        (result,) = run_points([point], store=store)
        if result.summary is None:
            raise InputError(source, f"at {factor:g} times its load, {_told(point)}: {result.reason}")
        headroom = _headroom(space.promise, flat_metrics(result.summary))
        broken[factor] = [bound.metric for bound in space.promise if headroom.get(bound.metric, -1.0) < 0]
        if probed is not None:
            probed(factor)
        return not broken[factor]

    bracket = search(keeps, tolerance=_TOLERANCE, most_doublings=_MOST_DOUBLINGS)
    first = [] if bracket.not_kept is None else broken[bracket.not_kept]
    return Breaking(kept=bracket.kept, not_kept=bracket.not_kept, broken=first)


def _usd(choice: Choice) -> float:
    assert choice.usd_per_hour is not None
    return choice.usd_per_hour


def _told(point: Point) -> str:
    return ", ".join(f"{path} {value}" for path, value in point.labels.items())
