"""What a measurement is: a grid of points and a way to set up for them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from validation.calibrate.robust import Series, Spread, counting, spread_of, which_count

At = Mapping[str, float]
"""Where a point lies, such as `{"tokens": 4}`."""

Measure = Callable[[At], Mapping[str, float]]
"""Measure one point once: seconds by what was timed, the one that decides first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One thing to measure, over a grid.

    `set_up` allocates, yields the function that measures a point once, and puts everything back. `weight` is its share of
    the time for all, relative to the others. `is_crowded` says that its own threads may outnumber the cores: then waiting
    for one is part of what is measured. `has_workers` says that CPU workers compute, so that all cores should be as fast.
    `is_long` says that a sample is a forward pass or more: it need not settle, a turn
    is one sample, and turns go on until the time is spent. What is made of such points is the difference of two, so both
    should have been measured at the same times.
    """

    name: str
    title: str
    grid: Sequence[At]
    set_up: Callable[[], AbstractContextManager[Measure]]
    weight: float = 1.0
    is_crowded: bool = False
    has_workers: bool = False
    is_long: bool = False


def column(series: Sequence[Series], key: str) -> list[float]:
    """Return where the points of a measurement lie along `key`."""
    return [one.at[key] for one in series]


def spreads(series: Sequence[Series], quantity: str) -> list[Spread]:
    """Return the spread of one timed quantity at each point, of the samples that count."""
    return [spread_of(counting(one)[quantity]) for one in series]


def medians(series: Sequence[Series], quantity: str) -> list[float]:
    """Return the median of one timed quantity at each point, in seconds."""
    return [spread.median_s for spread in spreads(series, quantity)]


def counted_frac(series: Sequence[Series]) -> float:
    """Return the share of the samples of one or more points that were taken at the reference speed."""
    counts = [counts for one in series for counts in which_count(one)]
    return sum(counts) / len(counts)


def num_without(series: Sequence[Series]) -> int:
    """Count the points of which no sample was taken at the reference speed, so that all of theirs are used."""
    return sum(not any(which_count(one)) for one in series)
