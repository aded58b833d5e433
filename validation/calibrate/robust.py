"""Measure many points in turns, until the median of each is known well enough or the time is spent.

    warm up every point
    round after round: every point that is not known yet, in a new random order, has a turn
    a turn: once or more to settle, which is not kept, then some samples
    a point is known when the standard error of its median falls below a share of the median
    with a speed to keep to: a probe before and after each sample, which counts if both were as fast and it hardly waited;
    before a turn, patience waits until the machine is as fast

Turns, and not one point after the other, so that a machine that slows down (clocks, neighbours) does so under all points
alike. Settling, because short work right after long work is slower than in a row of its own kind, as a run has it: an
expert of one token by 15 % after one of 256, on the machine this was written on. Samples of one turn are of one moment, so
work that is long enough not to need settling has many turns of one sample each. Every other sample is kept, and `counting`
picks those that count: medians and quartiles are taken from them later.

Source: the standard error of a median of n samples is sqrt(pi / 2) * sigma / sqrt(n) for a normal law; sigma is taken as
the larger of 1.4826 times the median absolute deviation and the distance of the quartiles / 1.349, which outliers do not
move. (Where samples have two modes, the former alone would be zero as soon as one of them holds the majority.)

Limits: samples are taken as independent, those of one turn too; a slow drift over the whole shows as spread.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from validation.calibrate.reference import Speed
from validation.runtime.speed import is_as_fast
from validation.runtime.waiting import is_undisturbed

OVERTIME = 2
"""How many times the budget points may take that would have too few samples otherwise."""
SIGMA_PER_MAD = 1.4826
QUARTILES_PER_SIGMA = 1.349


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a measurement: where it lies, such as `{"tokens": 4}`, and how to measure it once.

    `measure` returns seconds by the name of what was timed; the first of them decides when the point is known.
    """

    at: Mapping[str, float]
    measure: Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to measure: at least and at most so many repeats, the bound on the median's error, the time for all.

    With a bound of zero no point rests before the time is spent: all are measured equally often, at the same times. A turn
    of a point is `settle` measurements that are thrown away and `in_turn` that are kept.
    """

    budget_s: float
    relative_error: float = 0.01
    least_repeats: int = 5
    most_repeats: int = 200
    warmup: int = 1
    in_turn: int = 1
    settle: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All samples of one point, in seconds, in the order in which they were taken, by what was timed.

    With a speed to keep to, each sample has the slower of the probes around it, in ns, and `reference_ns` is the speed;
    `waited_fracs` say which share of its time was spent on waiting for a core. `ended_s` is when each sample ended, since
    the measurement began.
    """

    at: Mapping[str, float]
    samples: Mapping[str, Sequence[float]]
    ended_s: Sequence[float] = ()
    probes_ns: Sequence[float] = ()
    waited_fracs: Sequence[float] = ()
    reference_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, quartiles and median absolute deviation of samples, in seconds; the median's standard error as a share."""

    median_s: float
    lower_quartile_s: float
    upper_quartile_s: float
    mad_s: float
    relative_error: float
    count: int


def measure_points(
    points: Sequence[Point],
    effort: Effort,
    *,
    seed: int,
    speed: Speed | None = None,
    progress: Callable[[float], None] = lambda _share: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Series]:
    """Measure `points` and return one series for each, in their order.

    `progress` is called after each round with the share of the budget, or of the points, that is done. A point is
    repeated until `least_repeats` samples count even where the budget does not suffice, as far as twice the budget
    goes; patience is not in the budget. Without `speed` all samples count; with it, those taken at it.
    """
    draw = random.Random(seed)
    began = clock()
    takings = [_Taking(point, speed, lambda: clock() - began) for point in points]
    for point in draw.sample(list(points), len(points)):
        for _ in range(effort.warmup):
            point.measure()
    started, waited_before_s = clock(), _patience_spent_s(speed)
    open_takings = list(takings)
    while open_takings:
        draw.shuffle(open_takings)
        for taking in open_takings:
            taking.turn(effort)
        spent_s = clock() - started - (_patience_spent_s(speed) - waited_before_s)
        progress(min(1.0, max(spent_s / effort.budget_s, 1 - len(open_takings) / len(points))))
        if spent_s >= OVERTIME * effort.budget_s:
            break
        is_over = spent_s >= effort.budget_s
        open_takings = [taking for taking in open_takings if taking.goes_on(effort, is_over=is_over)]
    return [taking.series() for taking in takings]


def _patience_spent_s(speed: Speed | None) -> float:
    return 0.0 if speed is None else speed.patience.spent_s


def which_count(one: Series) -> list[bool]:
    """Tell of each sample whether it was taken at the reference speed; where none was asked for, all were."""
    if one.reference_ns is None:
        return [True] * max(len(values) for values in one.samples.values())
    return [
        _counts(probe_ns, waited_frac, one.reference_ns)
        for probe_ns, waited_frac in zip(one.probes_ns, one.waited_fracs, strict=True)
    ]


def counting(one: Series) -> Mapping[str, Sequence[float]]:
    """Return the samples that count, by what was timed: where none was taken at the reference speed, all of them."""
    which = which_count(one)
    if all(which) or not any(which):
        return one.samples
    return {
        name: [seconds for seconds, counts in zip(values, which, strict=True) if counts]
        for name, values in one.samples.items()
    }


def _counts(probe_ns: float, waited_frac: float, reference_ns: float) -> bool:
    return is_as_fast(probe_ns, reference_ns) and is_undisturbed(waited_frac, 1)


def spread_of(samples: Sequence[float]) -> Spread:
    """Return the spread of one point's samples, one or more."""
    values = np.asarray(samples, dtype=np.float64)
    lower, median, upper = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    mad = float(np.median(np.abs(values - median)))
    sigma = max(SIGMA_PER_MAD * mad, (upper - lower) / QUARTILES_PER_SIGMA)
    error = sqrt(pi / 2) * sigma / sqrt(len(values))
    return Spread(
        median_s=median,
        lower_quartile_s=lower,
        upper_quartile_s=upper,
        mad_s=mad,
        relative_error=error / median if median > 0 else 0.0,
        count=len(values),
    )


class _Taking:
    """The samples of one point while they are taken."""

    def __init__(self, point: Point, speed: Speed | None, elapsed_s: Callable[[], float]) -> None:
        self._point = point
        self._speed = speed
        self._elapsed_s = elapsed_s
        self._samples: dict[str, list[float]] = {}
        self._ended_s: list[float] = []
        self._probes_ns: list[float] = []
        self._waited_fracs: list[float] = []
        self._counting: list[float] = []

    def turn(self, effort: Effort) -> None:
        """Wait for the machine, settle, then take samples."""
        speed = self._speed
        if speed is not None:
            speed.patience.wait_for(speed.reference_ns, probe_ns=speed.settle)
        for _ in range(effort.settle):
            self._point.measure()
        before_ns = speed.settle() if speed is not None else 0.0
        for _ in range(effort.in_turn):
            began_s, waited_ns = self._elapsed_s(), speed.waited_ns() if speed is not None else 0.0
            taken = self._point.measure()
            self._ended_s.append(self._elapsed_s())
            for name, seconds in taken.items():
                self._samples.setdefault(name, []).append(seconds)
            if speed is not None:
                waited_s = (speed.waited_ns() - waited_ns) / 1e9
                self._waited_fracs.append(waited_s / max(self._ended_s[-1] - began_s, 1e-9))
                after_ns = speed.probe_ns()
                self._probes_ns.append(max(before_ns, after_ns))
                before_ns = after_ns
            if speed is None or _counts(self._probes_ns[-1], self._waited_fracs[-1], speed.reference_ns):
                self._counting.append(next(iter(taken.values())))

    def goes_on(self, effort: Effort, *, is_over: bool) -> bool:
        """Tell whether the point has another turn, when the budget is spent (`is_over`) or before."""
        if len(self._counting) >= effort.most_repeats:
            return False
        if len(self._counting) < effort.least_repeats:
            return True
        if is_over:
            return False
        return spread_of(self._counting).relative_error >= effort.relative_error

    def series(self) -> Series:
        """Return what was taken."""
        return Series(
            at=dict(self._point.at),
            samples=self._samples,
            ended_s=self._ended_s,
            probes_ns=self._probes_ns,
            waited_fracs=self._waited_fracs,
            reference_ns=self._speed.reference_ns if self._speed is not None else None,
        )
