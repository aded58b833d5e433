"""Exact durations: figures are the decimals that were written, and are rounded once, up."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.profile import Constant, DurationTable
from simulator.costs.exact import DurationCurve, ceil_ns, exact

tables = st.lists(
    st.tuples(st.integers(1, 10_000), st.integers(0, 10**7)), min_size=1, max_size=6, unique_by=lambda point: point[0]
).map(lambda points: (sorted(amount for amount, _ in points), sorted(time_ns for _, time_ns in points)))


def table(amounts: list[int], times_ns: list[int]) -> DurationTable:
    """Make a table as a profile would hold it: seconds, in floats."""
    return DurationTable(
        amounts=tuple(float(amount) for amount in amounts),
        seconds=tuple(float(f"{time_ns}e-9") for time_ns in times_ns),
        kind="measured",
        source="a test",
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, Fraction(1, 10)),
        (1e-7, Fraction(1, 10**7)),
        (0.3, Fraction(3, 10)),
        (25e9, Fraction(25 * 10**9)),
        (2.0**40, Fraction(2**40)),
    ],
)
def test_a_float_is_the_decimal_that_was_written(value: float, expected: Fraction) -> None:
    """Not the binary number next to it."""
    assert exact(value) == expected


@pytest.mark.parametrize(
    ("duration", "expected"), [(Fraction(0), 0), (Fraction(5), 5), (Fraction(1, 10**12), 1), (Fraction(29, 10), 3)]
)
def test_durations_are_rounded_up(duration: Fraction, expected: int) -> None:
    """Whole nanoseconds stay; any part of one is a whole one."""
    assert ceil_ns(duration) == expected


@pytest.mark.parametrize("hundredths_us", [10, 30, 70, 110, 230, 290, 410])
def test_microseconds_that_floats_would_miss(hundredths_us: int) -> None:
    """0.1 us, 0.3 us, 1.1 us, ... are 100, 300, 1100 ns, and not one more for a float's last bit."""
    seconds = float(f"{hundredths_us}e-8")
    stated = Constant(seconds=seconds, kind="measured", source="a test")
    assert ceil_ns(DurationCurve(stated).ns(1)) == hundredths_us * 10


def test_a_constant_does_not_grow() -> None:
    """It is the same for every amount."""
    stated = Constant(seconds=2e-6, kind="measured", source="a test")
    assert [DurationCurve(stated).ns(amount) for amount in (0, 1, 10**9)] == [2000] * 3


@settings(derandomize=True, deadline=None, max_examples=150)
@given(points=tables, amount=st.integers(0, 12_000))
def test_between_points_a_table_is_interpolated_as_numpy_does(points: tuple[list[int], list[int]], amount: int) -> None:
    """Linear between points, and exact at them."""
    amounts, times_ns = points
    stated = table(amounts, times_ns)
    inside = min(max(amount, amounts[0]), amounts[-1])
    assert float(DurationCurve(stated).ns(inside)) == pytest.approx(
        float(np.interp(inside, amounts, times_ns)), rel=1e-12
    )
    assert [DurationCurve(stated).ns(at) for at in amounts] == times_ns


@settings(derandomize=True, deadline=None, max_examples=150)
@given(points=tables, beyond=st.integers(1, 5000))
def test_beyond_the_ends_the_slope_goes_on(points: tuple[list[int], list[int]], beyond: int) -> None:
    """The first two points give the slope below, the last two above; never below zero; one point is a constant."""
    amounts, times_ns = points
    stated = table(amounts, times_ns)
    slopes = [Fraction(y1 - y0, x1 - x0) for (x0, y0), (x1, y1) in pairwise(zip(amounts, times_ns, strict=True))]
    first, last = (slopes[0], slopes[-1]) if slopes else (Fraction(0), Fraction(0))
    assert DurationCurve(stated).ns(amounts[-1] + beyond) == times_ns[-1] + last * beyond
    below = min(beyond, amounts[0])
    assert DurationCurve(stated).ns(amounts[0] - below) == max(0, times_ns[0] - first * below)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(points=tables, amounts=st.lists(st.integers(0, 15_000), min_size=2, max_size=6))
def test_more_never_takes_less(points: tuple[list[int], list[int]], amounts: list[int]) -> None:
    """Tables do not descend, between their points or beyond them."""
    stated = table(*points)
    times_ns = [DurationCurve(stated).ns(amount) for amount in sorted(amounts)]
    assert times_ns == sorted(times_ns)
