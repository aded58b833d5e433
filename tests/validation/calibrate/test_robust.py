"""Repeated measurement: turns, stopping, and what is kept."""

from collections.abc import Mapping
from itertools import count

import numpy as np
import pytest

from validation.calibrate.robust import Effort, Point, measure_points, spread_of


class Clock:
    """A clock that a measurement moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def point(name: int, log: list[int], values: "list[float] | None" = None, clock: Clock | None = None) -> Point:
    """Return a point that notes its turns and gives `values` in turn, the last for ever."""
    turn = count()

    def measure() -> Mapping[str, float]:
        log.append(name)
        seconds = 1.0 if values is None else values[min(next(turn), len(values) - 1)]
        if clock is not None:
            clock.now_s += seconds
        return {"time": seconds}

    return Point(at={"point": name}, measure=measure)


def test_points_take_turns_in_a_changing_order() -> None:
    """Each round has every point once; rounds differ; the same seed gives the same turns."""
    logs: list[list[int]] = []
    for _ in range(2):
        log: list[int] = []
        points = [point(name, log) for name in range(5)]
        measure_points(points, Effort(budget_s=1e9, warmup=0, least_repeats=6), seed=3)
        logs.append(log)
    rounds = [logs[0][start : start + 5] for start in range(0, 30, 5)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert logs[0] == logs[1]


def test_a_turn_settles_before_it_counts() -> None:
    """The first of each turn is not kept."""
    values = [9.0, 1.0, 2.0, 9.0, 3.0, 4.0]
    effort = Effort(budget_s=1e9, warmup=0, least_repeats=4, most_repeats=4, in_turn=2, settle=1)
    (series,) = measure_points([point(0, [], values)], effort, seed=0)
    assert series.samples == {"time": [1.0, 2.0, 3.0, 4.0]}


def test_a_known_point_rests_and_an_unknown_one_goes_on() -> None:
    """A point without spread ends after the least repeats; one that spreads is repeated up to the most."""
    log: list[int] = []
    wild = [1.0, 3.0] * 20
    series = measure_points(
        [point(0, log), point(1, log, wild)], Effort(budget_s=1e9, warmup=2, least_repeats=5, most_repeats=17), seed=0
    )
    assert [len(one.samples["time"]) for one in series] == [5, 17]
    assert [one.at for one in series] == [{"point": 0}, {"point": 1}]
    assert log[:4] in ([0, 0, 1, 1], [1, 1, 0, 0])


def test_every_sample_is_kept_in_order() -> None:
    """Outliers too."""
    values = [1.0, 50.0, 1.0, 1.0, 2.0]
    (series,) = measure_points([point(0, [], values)], Effort(budget_s=1e9, warmup=0, most_repeats=5), seed=0)
    assert series.samples == {"time": values}


def test_the_budget_ends_it() -> None:
    """No further round begins when the time is spent."""
    clock = Clock()
    values = [1.0, 2.0] * 50
    (series,) = measure_points([point(0, [], values, clock)], Effort(budget_s=30, warmup=0), seed=0, clock=clock)
    assert len(series.samples["time"]) == 20


def test_a_short_budget_still_gives_the_least_repeats_within_three_times_it() -> None:
    """Slow points are repeated less often than asked, but the time is bounded."""
    clock = Clock()
    (series,) = measure_points([point(0, [], [1.0], clock)], Effort(budget_s=2, warmup=0), seed=0, clock=clock)
    assert len(series.samples["time"]) == 5
    (series,) = measure_points([point(0, [], [3.0], clock)], Effort(budget_s=2, warmup=0), seed=0, clock=clock)
    assert len(series.samples["time"]) == 2


def test_progress_rises_to_one() -> None:
    """It never falls, and ends at 1 when all points are known."""
    shares: list[float] = []
    measure_points([point(0, []), point(1, [])], Effort(budget_s=1e9), seed=0, progress=shares.append)
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


def test_spread_by_hand() -> None:
    """Median 3, quartiles 2 and 4, deviations 2 1 0 1 97."""
    spread = spread_of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (spread.median_s, spread.lower_quartile_s, spread.upper_quartile_s, spread.mad_s) == (3.0, 2.0, 4.0, 1.0)
    assert spread.relative_error == pytest.approx(1.2533 * 1.4826 / 5**0.5 / 3, rel=1e-4)


def test_the_error_is_that_of_medians() -> None:
    """Over many draws, medians of 40 samples scatter as the error of one draw says."""
    draws = np.random.default_rng(1).normal(10, 1, size=(400, 40))
    scatter = float(np.std(np.median(draws, axis=1))) / 10
    claimed = float(np.median([spread_of(list(row)).relative_error for row in draws]))
    assert claimed == pytest.approx(scatter, rel=0.15)
