"""Arrival processes against their definitions, with fixed seeds and bounds that another process breaks."""

from collections.abc import Callable, Iterator
from itertools import islice, pairwise, takewhile
from math import exp, sqrt
from random import Random
from statistics import fmean, pstdev, pvariance

import pytest

from simulator.workload.generators import GENERATORS
from simulator.workload.generators.gamma import Gamma
from simulator.workload.generators.on_off import OnOff
from simulator.workload.generators.poisson import Poisson
from simulator.workload.generators.protocol import NS_PER_S, ArrivalTimes
from simulator.workload.generators.ramp import Ramp

NUM_GAPS = 20_000
KS_BOUND = 1.95 / sqrt(NUM_GAPS)
"""Of the Kolmogorov-Smirnov distance at a level of 0.1 %."""

EXAMPLES: dict[str, ArrivalTimes] = {
    "poisson": Poisson(rate_per_s=2.5),
    "gamma": Gamma(rate_per_s=2.5, cv=3.0),
    "on_off": OnOff(on_rate_per_s=10.0, mean_on_s=2.0, mean_off_s=6.0),
    "ramp": Ramp(start_rate_per_s=1.0, end_rate_per_s=4.0, ramp_s=100.0),
}


def gaps_s(process: ArrivalTimes, count: int = NUM_GAPS, seed: int = 1) -> list[float]:
    """Return the first gaps, from 0 on."""
    times = [0, *islice(process.times(Random(seed)), count)]
    return [(after - before) / NS_PER_S for before, after in pairwise(times)]


def until(process: ArrivalTimes, end_s: float, seed: int = 1) -> list[float]:
    """Return the times before an end, in s."""
    return [ns / NS_PER_S for ns in takewhile(lambda ns: ns < end_s * NS_PER_S, process.times(Random(seed)))]


def ks_distance(values: list[float], cdf: Callable[[float], float]) -> float:
    """Return the greatest distance of the values' distribution from `cdf`."""
    ordered = sorted(values)
    return max(
        max(abs(cdf(value) - index / len(ordered)), abs(cdf(value) - (index + 1) / len(ordered)))
        for index, value in enumerate(ordered)
    )


def test_every_generator_has_an_example() -> None:
    """The conformance tests below see all of them."""
    assert EXAMPLES.keys() == GENERATORS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_times_ascend_and_depend_on_the_seed_alone(name: str) -> None:
    """Whole ns from 0 up, the same for the same seed, others for another; a second run is not the first one's rest."""
    process = EXAMPLES[name]
    times = list(islice(process.times(Random(7)), 500))
    assert {type(ns) for ns in times} == {int}
    assert times[0] >= 0
    assert times == sorted(times)
    assert list(islice(process.times(Random(7)), 500)) == times
    assert list(islice(process.times(Random(8)), 500)) != times


def test_poisson_gaps_are_exponential() -> None:
    """By Kolmogorov-Smirnov; gamma gaps of a coefficient of variation of 1.1 fail the same test."""

    def exponential(value_s: float) -> float:
        return 1 - exp(-2.5 * value_s)

    assert ks_distance(gaps_s(Poisson(rate_per_s=2.5)), exponential) < KS_BOUND
    assert ks_distance(gaps_s(Gamma(rate_per_s=2.5, cv=1.1)), exponential) > KS_BOUND


def test_poisson_counts_in_windows_have_equal_mean_and_variance() -> None:
    """Of 4,000 windows of 2 s at 2.5 requests/s: 5 and 5."""
    counts = [0] * 4000
    for time_s in until(Poisson(rate_per_s=2.5), 8000.0):
        counts[int(time_s / 2)] += 1
    assert fmean(counts) == pytest.approx(5.0, rel=0.02)
    assert pvariance(counts) / fmean(counts) == pytest.approx(1.0, abs=0.07)


def test_gaps_are_independent() -> None:
    """The lag-1 correlation of Poisson and gamma gaps is within three standard errors of 0."""
    for process in (Poisson(rate_per_s=2.5), Gamma(rate_per_s=2.5, cv=2.0)):
        gaps = gaps_s(process)
        mean = fmean(gaps)
        products = fmean((a - mean) * (b - mean) for a, b in pairwise(gaps))
        assert abs(products / pvariance(gaps)) < 3 / sqrt(NUM_GAPS)


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.0, 4.0])
def test_gamma_gaps_have_the_mean_and_variation_that_was_asked_for(cv: float) -> None:
    """Within what the number of gaps allows."""
    gaps = gaps_s(Gamma(rate_per_s=4.0, cv=cv), 4 * NUM_GAPS)
    assert fmean(gaps) == pytest.approx(0.25, rel=4 * cv / sqrt(len(gaps)))
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(cv, rel=0.05)


def test_gamma_without_variation_is_a_metronome() -> None:
    """Every gap is the mean."""
    assert list(islice(Gamma(rate_per_s=4.0, cv=0.0).times(Random(0)), 3)) == [250_000_000, 500_000_000, 750_000_000]


@pytest.mark.parametrize("phases", ["exponential", "fixed"])
def test_on_off_has_the_mean_rate_of_its_phases(phases: str) -> None:
    """10/s for 2 s and 1/s for 6 s in turn are 3.25/s, and counts vary more than Poisson's."""
    process = OnOff(
        on_rate_per_s=10.0,
        off_rate_per_s=1.0,
        mean_on_s=2.0,
        mean_off_s=6.0,
        phases="fixed" if phases == "fixed" else "exponential",
    )
    end_s = 40_000.0
    times = until(process, end_s)
    assert len(times) / end_s == pytest.approx(3.25, rel=0.03)
    counts = [0] * int(end_s)
    for time_s in times:
        counts[int(time_s)] += 1
    assert pvariance(counts) / fmean(counts) > 3


def test_on_off_with_fixed_phases_has_each_rate_in_its_phase() -> None:
    """With a silence of 6 s, arrivals come in spells of 2 s with 20 arrivals on average, 8 s from one to the next."""
    times = until(OnOff(on_rate_per_s=10.0, mean_on_s=2.0, mean_off_s=6.0, phases="fixed"), 8000.0)
    begins = [times[0], *(after for before, after in pairwise(times) if after - before > 5.0)]
    phase = begins[1] % 8.0
    assert all(((time_s - phase + 2.0) % 8.0) < 4.0 for time_s in times)
    assert len(times) / 1000 == pytest.approx(20.0, rel=0.03)


def test_on_off_keeps_its_phases_at_another_rate() -> None:
    """The same seed has its long silences at the same places."""
    slow, fast = (until(OnOff(on_rate_per_s=rate, mean_on_s=20.0, mean_off_s=20.0), 2000.0) for rate in (20.0, 40.0))

    def silences(times: list[float]) -> list[int]:
        return [round(before / 4) for before, after in pairwise(times) if after - before > 8.0]

    assert len(silences(slow)) > 10
    assert silences(slow) == pytest.approx(silences(fast), abs=1)


def test_ramp_has_the_rate_of_its_line_and_stays_at_its_end() -> None:
    """From 0 to 20/s over 1,000 s: 2,500 arrivals in the first half, 7,500 in the second, 20/s thereafter."""
    times = until(Ramp(start_rate_per_s=0.0, end_rate_per_s=20.0, ramp_s=1000.0), 1500.0)
    counts = [sum(1 for time_s in times if low <= time_s < low + 500.0) for low in (0.0, 500.0, 1000.0)]
    for count, mean in zip(counts, (2500, 7500, 10_000), strict=True):
        assert abs(count - mean) < 3.5 * sqrt(mean)


def test_a_ramp_that_falls_to_0_ends() -> None:
    """From 20/s to 0 over 1,000 s: 10,000 arrivals in all."""
    times = list(Ramp(start_rate_per_s=20.0, end_rate_per_s=0.0, ramp_s=1000.0).times(Random(2)))
    assert abs(len(times) - 10_000) < 350
    assert times[-1] <= 1000 * NS_PER_S


def test_a_level_ramp_is_poisson() -> None:
    """Gap by gap, to the rounding."""
    level = gaps_s(Ramp(start_rate_per_s=2.5, end_rate_per_s=2.5, ramp_s=50.0), 1000)
    assert level == pytest.approx(gaps_s(Poisson(rate_per_s=2.5), 1000), abs=1e-8)


@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_another_rate_stretches_the_same_arrivals(name: str) -> None:
    """At half the rate each arrival comes at twice its time."""
    make: Callable[[float], ArrivalTimes] = (
        (lambda rate: Poisson(rate_per_s=rate)) if name == "poisson" else (lambda rate: Gamma(rate_per_s=rate, cv=2.0))
    )
    slow, fast = (list(islice(make(rate).times(Random(3)), 200)) for rate in (1.0, 2.0))
    assert slow == pytest.approx([2 * ns for ns in fast], abs=500)


def _bad() -> Iterator[tuple[str, Callable[[], ArrivalTimes]]]:
    yield "rate_per_s is 0", lambda: Poisson(rate_per_s=0.0)
    yield "rate_per_s is nan", lambda: Poisson(rate_per_s=float("nan"))
    yield "rate_per_s is inf", lambda: Gamma(rate_per_s=float("inf"), cv=1.0)
    yield "cv is -1", lambda: Gamma(rate_per_s=1.0, cv=-1.0)
    yield "off_rate_per_s is 3", lambda: OnOff(on_rate_per_s=2.0, off_rate_per_s=3.0, mean_on_s=1.0, mean_off_s=1.0)
    yield "mean_off_s is 0", lambda: OnOff(on_rate_per_s=2.0, mean_on_s=1.0, mean_off_s=0.0)
    yield "ramp_s is 0", lambda: Ramp(start_rate_per_s=1.0, end_rate_per_s=2.0, ramp_s=0.0)
    yield "are 0", lambda: Ramp(start_rate_per_s=0.0, end_rate_per_s=0.0, ramp_s=1.0)


@pytest.mark.parametrize(("says", "make"), list(_bad()), ids=[says for says, _ in _bad()])
def test_what_is_no_process_is_refused(says: str, make: Callable[[], ArrivalTimes]) -> None:
    """With the parameter and its value."""
    with pytest.raises(ValueError, match=says):
        make()
