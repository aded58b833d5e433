"""Repeated measurement: turns, stopping, what is kept, and what counts on a machine of two speeds."""

from collections.abc import Callable, Mapping
from itertools import count

import numpy as np
import pytest

from validation.calibrate.measurement import counted_frac, medians, num_without
from validation.calibrate.reference import Speed, speed_in_words, take_reference
from validation.calibrate.robust import Effort, Point, Series, counting, measure_points, spread_of, which_count
from validation.runtime.patience import Patience


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


def test_without_an_error_to_reach_all_points_go_on_together() -> None:
    """A steady point is measured as often as a wild one, to the end of the budget."""
    clock = Clock()
    points = [point(0, [], [1.0, 1.001], clock), point(1, [], [1.0, 3.0] * 50, clock)]
    series = measure_points(points, Effort(budget_s=90, warmup=0, relative_error=0), seed=0, clock=clock)
    assert [len(one.samples["time"]) for one in series] == [30, 30]


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


def test_a_short_budget_still_gives_the_least_repeats_within_twice_it() -> None:
    """Slow points are repeated less often than asked, but the time is bounded."""
    clock = Clock()
    (series,) = measure_points([point(0, [], [1.0], clock)], Effort(budget_s=3, warmup=0), seed=0, clock=clock)
    assert len(series.samples["time"]) == 5
    (series,) = measure_points([point(0, [], [3.0], clock)], Effort(budget_s=3, warmup=0), seed=0, clock=clock)
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


FAST_NS, SLOW_NS = 100_000.0, 200_000.0


class Machine:
    """A machine that is twice as slow at times, and busy at others: all work on it takes its clock further.

    While it is busy, work waits for as long as it takes, and probes do not.
    """

    def __init__(
        self,
        is_slow: Callable[[float], bool] = lambda _now_s: False,
        is_busy: Callable[[float], bool] = lambda _: False,
    ) -> None:
        self.clock = Clock()
        self.num_probes = 0
        self.waited_s = 0.0
        self._is_slow = is_slow
        self._is_busy = is_busy

    def work(self, seconds: float) -> float:
        """Do what takes `seconds` on the fast machine; return what it took."""
        took_s = seconds * (2 if self._is_slow(self.clock.now_s) else 1)
        self.clock.now_s += took_s
        return took_s

    def waited_ns(self) -> float:
        """Return for how long work has waited."""
        return self.waited_s * 1e9

    def probe_ns(self) -> float:
        """Return the time of the probe."""
        self.num_probes += 1
        return self.work(FAST_NS / 1e9) * 1e9

    def speed(self) -> Speed:
        """Return the fast one."""
        return Speed(reference_ns=FAST_NS, probe_ns=self.probe_ns, settle=self.probe_ns, waited_ns=self.waited_ns)

    def points(self, *seconds: float) -> list[Point]:
        """Return points of work that takes `seconds`, and a second quantity of half of it."""

        def point(index: int, expected_s: float) -> Point:
            def measure() -> Mapping[str, float]:
                is_busy = self._is_busy(self.clock.now_s)
                took_s = self.work(expected_s)
                if is_busy:
                    self.clock.now_s += took_s
                    self.waited_s += took_s
                    took_s *= 2
                return {"time": took_s, "half": took_s / 2}

            return Point(at={"point": index}, measure=measure)

        return [point(index, expected_s) for index, expected_s in enumerate(seconds)]


def taken_on(machine: Machine, effort: Effort, *seconds: float) -> list[Series]:
    """Measure points on a machine, by its own clock and probe."""
    return measure_points(machine.points(*seconds), effort, seed=0, speed=machine.speed(), clock=machine.clock)


def test_medians_are_those_of_the_reference_speed() -> None:
    """Though the machine is slow for two thirds of the time, and the plain medians are those of the slow one."""
    machine = Machine(lambda now_s: now_s % 3 < 2)
    series = taken_on(machine, Effort(budget_s=60, warmup=0, least_repeats=20), 0.03, 0.05)
    assert medians(series, "time") == pytest.approx([0.03, 0.05])
    assert medians(series, "half") == pytest.approx([0.015, 0.025])
    assert 0.2 < counted_frac(series) < 0.5
    assert [float(np.median(one.samples["time"])) for one in series] == pytest.approx([0.06, 0.1])
    assert num_without(series) == 0
    assert all(len(counting(one)["time"]) >= 20 for one in series)


def test_a_sample_across_a_change_does_not_count() -> None:
    """The slower of the probes before and after it is its own."""
    machine = Machine(lambda now_s: 1 < now_s < 2)
    (series,) = taken_on(machine, Effort(budget_s=1e9, warmup=0, least_repeats=3, in_turn=6), 0.4)
    assert series.samples["time"][:6] == pytest.approx([0.4, 0.4, 0.4, 0.8, 0.4, 0.4])
    assert which_count(series)[:6] == [True, True, False, False, True, True]
    assert series.probes_ns[:6] == pytest.approx([FAST_NS, FAST_NS, SLOW_NS, SLOW_NS, FAST_NS, FAST_NS])
    assert list(series.ended_s) == sorted(series.ended_s)
    assert len(series.ended_s) == len(series.probes_ns) == len(series.samples["half"])


def test_a_sample_that_waited_for_a_core_does_not_count() -> None:
    """Though the probes around it were as fast as ever; the share of its time is kept."""
    machine = Machine(is_busy=lambda now_s: now_s % 3 < 2)
    (series,) = taken_on(machine, Effort(budget_s=60, warmup=0, least_repeats=20), 0.05)
    assert medians([series], "time") == pytest.approx([0.05])
    assert max(series.samples["time"]) == pytest.approx(0.1)
    assert sorted({round(frac, 6) for frac in series.waited_fracs}) == [0, 0.5]
    assert which_count(series) == [frac == 0 for frac in series.waited_fracs]
    assert 0.2 < counted_frac([series]) < 0.6


def test_too_few_that_count_go_on_beyond_the_budget() -> None:
    """Until there are as many as asked for, and no longer; the points that have them rest."""
    machine = Machine(lambda now_s: now_s < 11)
    (series,) = taken_on(machine, Effort(budget_s=10, warmup=0, least_repeats=5), 1.0)
    assert len(counting(series)["time"]) == 5
    assert medians([series], "time") == pytest.approx([1.0])
    assert 16 < machine.clock.now_s < 18


def test_none_that_count_leave_all_samples() -> None:
    """After twice the budget: the medians are of all samples, and that can be told."""
    machine = Machine(lambda _now_s: True)
    series = taken_on(machine, Effort(budget_s=10, warmup=0), 1.0, 1.5)
    assert 20 <= machine.clock.now_s < 26
    assert medians(series, "time") == pytest.approx([2.0, 3.0])
    assert (counted_frac(series), num_without(series)) == (0, 2)
    assert [counting(one) for one in series] == [one.samples for one in series]


def test_without_a_speed_nothing_is_probed_and_all_samples_count() -> None:
    """As on CUDA: a slow stretch is among the samples."""
    machine = Machine(lambda now_s: now_s > 2)
    (series,) = measure_points(
        machine.points(1.0),
        Effort(budget_s=1e9, warmup=0, least_repeats=4, most_repeats=4),
        seed=0,
        clock=machine.clock,
    )
    assert machine.num_probes == 0
    assert series.samples["time"] == [1, 1, 1, 2]
    assert (list(series.probes_ns), series.reference_ns) == ([], None)
    assert which_count(series) == [True] * 4
    assert counting(series) == series.samples


def test_the_reference_is_the_undisturbed_machine() -> None:
    """The median of the fast probes, where they are a fifth or more of all."""
    machine = Machine(lambda now_s: now_s % 1 > 0.3)

    def between() -> None:
        machine.clock.now_s += 0.01

    reference = take_reference(between, machine.probe_ns, clock=machine.clock)
    assert reference.speed_ns == pytest.approx(FAST_NS)
    assert len(reference.probes_ns) == machine.num_probes == 400
    assert speed_in_words(reference.speed_ns, 0.834) == "probe 100 us, 83% of samples counted"


@pytest.mark.parametrize(("between_s", "num_probes"), [(0.001, 400), (0.1, 200), (0.5, 40), (5, 20)])
def test_a_reference_takes_20_seconds_or_few_probes(between_s: float, num_probes: int) -> None:
    """20 to 400 of them; a speed that is known is kept to, whatever they say."""
    machine = Machine(lambda _now_s: True)

    def between() -> None:
        machine.clock.now_s += between_s

    reference = take_reference(between, lambda: 1.0, at_speed_ns=123.0, clock=machine.clock)
    assert reference.speed_ns == 123
    assert len(reference.probes_ns) == pytest.approx(num_probes, abs=1)


def test_what_would_not_count_is_waited_out() -> None:
    """A slow spell of 50 s within a budget of 10 s: all samples count, taken within budget and wait."""
    machine = Machine(lambda now_s: 3 < now_s < 53)
    clock = machine.clock

    def sleep(seconds: float) -> None:
        clock.now_s += seconds

    patience = Patience(60, probe_ns=machine.probe_ns, clock=clock, sleep=sleep)
    speed = Speed(
        reference_ns=FAST_NS, probe_ns=machine.probe_ns, settle=machine.probe_ns, waited_ns=lambda: 0, patience=patience
    )
    effort = Effort(budget_s=10, warmup=0, relative_error=-1, most_repeats=10**6)
    (series,) = measure_points(machine.points(1.0), effort, seed=0, speed=speed, clock=clock)
    num_counting = sum(which_count(series))
    assert len(series.ended_s) - 1 <= num_counting
    assert num_counting >= 9
    assert 49 <= patience.spent_s <= 51
    assert clock.now_s - patience.spent_s == pytest.approx(10, abs=1.5)
