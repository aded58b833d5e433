"""Search a space for the cheapest choice that keeps a promise: simulate the choices, then load the best one further.

A space is run whole, unless it has more choices than its file asks for: then `simulator.plan.optimizer` says which.

    cost by the hour = what the file says of its values + what its machine's profile says, electricity included

What breaks first: of a service, arrivals come faster and faster until a bound breaks; of a closed batch, the bound with the
least headroom.

Limits: one seed per choice; what keeps its promise by less than the spread of replications may not keep it with others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.capacity.rate import at_rate, require_scalable
from simulator.capacity.search import search
from simulator.pareto import pareto_front
from simulator.plan.optimizer import Optimizer, Outcome, size
from simulator.plan.promise import Bound
from simulator.plan.search_space import Space
from simulator.points.point import Point, PointResult
from simulator.points.run import PointPool, Progress, run_points
from simulator.scenario import build_scenario
from simulator.sweep.draw import MAX_POINTS, draw
from simulator.sweep.metrics import chosen, flat_metrics
from simulator.sweep.points import is_allowed, point_of, require_sound, sweep_points

_BATCH = 16
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
    """The answer: the choices, the cheapest that keeps the promise, the front of cost against the first bound's figure.

    `size` is how many choices the space has, infinite along a span, constraints aside where not all were run.
    """

    space: Space
    size: float
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
    points = _whole(space, base)
    with PointPool(store=store, jobs=jobs) as pool:

        def run_all(points: Sequence[Point]) -> list[Choice]:
            choices = [_choice(space, result) for result in pool.run(points, progress)]
            _require_answers(space, choices)
            return choices

        choices = run_all(points) if points is not None else _proposed(space, base, run_all)
    run = [choice for choice in choices if choice.figures]
    if not run:
        reasons = list(dict.fromkeys(choice.reason for choice in choices))
        raise InputError(space.sweep.path, [f"no choice could be run: {reason}" for reason in reasons])
    keeping = [choice for choice in run if choice.keeps]
    first = space.promise[0]
    cheapest = min(keeping, key=lambda choice: (_usd(choice), -min(choice.headroom.values())), default=None)
    compared = [choice for choice in run if first.metric in choice.figures]
    sign = 1 if first.is_most else -1
    places = pareto_front([(_usd(choice), sign * float(choice.figures[first.metric])) for choice in compared])
    return Found(
        space=space,
        size=size(space.sweep.axes) if points is None else len(points),
        choices=choices,
        cheapest=cheapest,
        front=[compared[place] for place in places],
        breaking=None if cheapest is None else _breaking(space, cheapest, store=store, probed=probed),
    )


def num_choices(space: Space, base: Mapping[str, object]) -> int:
    """Return how many choices of a space will be run at most. Raises InputError for a space that cannot be run."""
    points = _whole(space, base)
    if points is not None:
        return len(points)
    assert space.search is not None
    return space.search.choices


def _whole(space: Space, base: Mapping[str, object]) -> Sequence[Point] | None:
    """Return all choices of a space that is run whole; None of one that is too large for that."""
    sweep, search = space.sweep, space.search
    if search is not None:
        if size(sweep.axes) > MAX_POINTS:
            return None
        allowed = (labels for labels in draw(sweep.axes, None) if is_allowed(sweep, labels))
        if len(list(islice(allowed, search.choices + 1))) > search.choices:
            return None
    return sweep_points(sweep, base).points


def _proposed(
    space: Space, base: Mapping[str, object], run_all: Callable[[Sequence[Point]], list[Choice]]
) -> list[Choice]:
    """Run as many choices of a large space as its file asks for, each batch proposed from what came of those before.

    Batches do not depend on how many processes there are, so that neither does the answer.
    """
    sweep, search = space.sweep, space.search
    assert search is not None
    optimizer = Optimizer(
        sweep.axes, num_choices=search.choices, seed=search.seed, allows=lambda labels: is_allowed(sweep, labels)
    )
    choices: list[Choice] = []
    while len(choices) < search.choices:
        asked = optimizer.ask(min(_BATCH, search.choices - len(choices)))
        if not asked:
            break
        points = [point_of(sweep, base, labels) for labels in asked.values()]
        if not choices:
            require_sound(sweep, points)
        new = run_all(points)
        _require_prices(space, new)  # before any more are run in vain
        for place, choice in zip(asked, new, strict=True):
            optimizer.tell(place, _outcome(space, choice))
        choices += new
    if not choices:
        raise InputError(sweep.path, "constraints: leave none of the choices that were tried; loosen them")
    return choices


def _outcome(space: Space, choice: Choice) -> Outcome | None:
    """Return what a search learns from a choice; None where it lacks a figure of the promise."""
    if choice.usd_per_hour is None or len(choice.headroom) < len({bound.metric for bound in space.promise}):
        return None
    first = space.promise[0]
    figure = float(choice.figures[first.metric])
    return Outcome(
        figures=(choice.usd_per_hour, figure if first.is_most else -figure),
        beyond={str(bound): max(0.0, -choice.headroom[bound.metric]) for bound in space.promise},
    )


def _require_answers(space: Space, choices: Sequence[Choice]) -> None:
    """Raise InputError where a promise is of no figure, and where a choice has no price."""
    run = [choice for choice in choices if choice.figures]
    if run:
        _require_metrics(space, run)
    _require_prices(space, run)


def _require_prices(space: Space, choices: Sequence[Choice]) -> None:
    """Raise InputError where a choice that could be run has no price."""
    unpriced = next((choice for choice in choices if choice.figures and choice.usd_per_hour is None), None)
    if unpriced is not None:
        raise InputError(
            space.sweep.path,
            f"prices: nobody says what {_told(unpriced.point)} costs; write prices of an axis, or set price.per_hour",
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
