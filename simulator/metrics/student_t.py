"""Quantiles of Student's t distribution, for intervals from few values; scipy is not needed for them."""

from functools import lru_cache
from math import exp, lgamma, log, pi, sqrt, tan
from statistics import NormalDist

_MAX_TERMS = 400
_TINY = 1e-300


@lru_cache(maxsize=256)
def t_quantile(probability: float, degrees: int) -> float:
    """Return the value below which a t of so many degrees of freedom falls with a probability; within 1e-9 of it.

    Raises ValueError for a probability that is not within 0 and 1, and for less than one degree of freedom.

    Source: the distribution by the incomplete beta function, Abramowitz and Stegun 26.7.1; solved by bisection.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability:g}; it should be above 0 and below 1")
    if degrees < 1:
        raise ValueError(f"degrees is {degrees}; it should be 1 or more")
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    if degrees == 1:
        return tan(pi * (probability - 0.5))
    low, high = 0.0, max(1.0, NormalDist().inv_cdf(probability))
    while t_cdf(high, degrees) < probability:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        if t_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_cdf(value: float, degrees: int) -> float:
    """Return the probability that a t of so many degrees of freedom is at most `value`."""
    tail = _incomplete_beta(degrees / (degrees + value * value), degrees / 2, 0.5) / 2
    return 1 - tail if value >= 0 else tail


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b). Source: Abramowitz and Stegun 26.5.8 and 26.5.2."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) / a
    return front * _continued_fraction(x, a, b)


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of I_x(a, b) from the front (Lentz's method)."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / _not_zero(1 + numerator * d)
            c = _not_zero(1 + numerator / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def half_width(standard_deviation: float, count: int, confidence: float) -> float:
    """Return half the width of the t interval of a mean of `count` independent values, two at least."""
    return t_quantile((1 + confidence) / 2, count - 1) * standard_deviation / sqrt(count)
