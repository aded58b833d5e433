"""Exact arithmetic for durations, so that each is rounded once, up, whatever floats would have made of it."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from hardware_profiles.profile import Constant, Duration

NS_PER_S = 10**9


def exact(value: float) -> Fraction:
    """Return the decimal that a figure was written as: the shortest one that reads back as `value`."""
    return Fraction(repr(value))


def ceil_ns(duration_ns: Fraction) -> int:
    """Round a duration up to whole nanoseconds."""
    return -(-duration_ns.numerator // duration_ns.denominator)


def duration_ns(duration: Duration, amount: int) -> Fraction:
    """Return a stated duration for an amount of tokens or bytes, exact, not rounded.

    A table is interpolated linearly between its points and extended by the slope of its first and last two, never below
    zero; a table of one point is a constant.
    """
    if isinstance(duration, Constant):
        return exact(duration.seconds) * NS_PER_S
    points = [(exact(x), exact(y) * NS_PER_S) for x, y in zip(duration.amounts, duration.seconds, strict=True)]
    return max(Fraction(0), _interpolate(points, Fraction(amount)))


def _interpolate(points: Sequence[tuple[Fraction, Fraction]], x: Fraction) -> Fraction:
    if len(points) == 1:
        return points[0][1]
    pairs = list(pairwise(points))
    (x0, y0), (x1, y1) = next((pair for pair in pairs if x <= pair[1][0]), pairs[-1])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
