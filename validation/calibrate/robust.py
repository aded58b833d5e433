"""Measure many points in turns, until the median of each is known well enough or the time is spent.

    warm up every point
    round after round: every point that is not known yet, in a new random order, has a turn
    a turn: once or more to settle, which is not kept, then some samples
    a point is known when the standard error of its median falls below a share of the median

Turns, and not one point after the other, so that a machine that slows down (clocks, neighbours) does so under all points
alike. Settling, because short work right after long work is slower than in a row of its own kind, as a run has it: an
expert of one token by 15 % after one of 256, on the machine this was written on. Every other sample is kept: medians and
quartiles are taken from them later.

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

    A turn of a point is `settle` measurements that are thrown away and `in_turn` that are kept.
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
    """All samples of one point, in seconds, in the order in which they were taken, by what was timed."""

    at: Mapping[str, float]
    samples: Mapping[str, Sequence[float]]


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
    progress: Callable[[float], None] = lambda _share: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Series]:
    """Measure `points` and return one series for each, in their order.

    `progress` is called after each round with the share of the budget, or of the points, that is done. A point is
    repeated `least_repeats` times even where the budget does not suffice, as far as three times the budget goes.
    """
    draw = random.Random(seed)
    samples: list[dict[str, list[float]]] = [{} for _ in points]
    for point in draw.sample(list(points), len(points)):
        for _ in range(effort.warmup):
            point.measure()
    started = clock()
    open_points = list(range(len(points)))
    repeats = 0
    while open_points:
        draw.shuffle(open_points)
        for index in open_points:
            for _ in range(effort.settle):
                points[index].measure()
            for _ in range(effort.in_turn):
                for name, seconds in points[index].measure().items():
                    samples[index].setdefault(name, []).append(seconds)
        repeats += effort.in_turn
        spent_s = clock() - started
        progress(min(1.0, max(spent_s / effort.budget_s, 1 - len(open_points) / len(points))))
        is_short = repeats < effort.least_repeats
        if spent_s >= effort.budget_s * (3 if is_short else 1) or repeats >= effort.most_repeats:
            break
        if not is_short:
            open_points = [index for index in open_points if not _is_known(samples[index], effort)]
    return [Series(at=dict(point.at), samples=taken) for point, taken in zip(points, samples, strict=True)]


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


def _is_known(samples: Mapping[str, Sequence[float]], effort: Effort) -> bool:
    return spread_of(next(iter(samples.values()))).relative_error <= effort.relative_error
