"""Exact arithmetic for durations, so that each is rounded once, up, whatever floats would have made of it."""

from bisect import bisect_left
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


class DurationCurve:
    """A stated duration as a function of the amount of work, its points read once."""

    def __init__(self, duration: Duration) -> None:
        if isinstance(duration, Constant):
            self._points = [(Fraction(0), exact(duration.seconds) * NS_PER_S)]
        else:
            amounts, seconds = map(exact, duration.amounts), map(exact, duration.seconds)
            self._points = [(amount, time * NS_PER_S) for amount, time in zip(amounts, seconds, strict=True)]
        self._amounts = [amount for amount, _ in self._points]
        self._slopes = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(self._points)]

    def ns(self, amount: int) -> Fraction:
        """Return the duration for an amount of tokens or bytes, exact, not rounded.

        A table is interpolated linearly between its points and extended by the slope of its first and last two, never
        below zero; a table of one point is a constant.
        """
        points = self._points
        if len(points) == 1:
            return points[0][1]
        upper = min(max(bisect_left(self._amounts, amount), 1), len(points) - 1)
        x0, y0 = points[upper - 1]
        return max(Fraction(0), y0 + self._slopes[upper - 1] * (amount - x0))
