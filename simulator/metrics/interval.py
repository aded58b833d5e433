"""A mean with its confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from simulator.metrics.student_t import half_width


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean, half the width of its interval (None where there are too few values for one), and from how many values."""

    mean: float
    half_width: float | None
    count: int
    confidence: float

    @property
    def low(self) -> float | None:
        """The lower end."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """The upper end."""
        return None if self.half_width is None else self.mean + self.half_width

    def contains(self, value: float) -> bool:
        """Tell whether a value lies within; none does where there is no interval."""
        return self.half_width is not None and abs(value - self.mean) <= self.half_width


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent values, and its t interval. Raises ValueError for no values.

    Source: Law, "Simulation Modeling and Analysis", 5th edition (2015), section 4.5.
    """
    require_confidence(confidence)
    if not values:
        raise ValueError("there are no values; give one at least")
    mean = fsum(values) / len(values)
    if len(values) == 1:
        return Interval(mean=mean, half_width=None, count=1, confidence=confidence)
    deviation = sqrt(fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = half_width(deviation, len(values), confidence)
    return Interval(mean=mean, half_width=half, count=len(values), confidence=confidence)


def require_confidence(confidence: float) -> None:
    """Raise ValueError for what is no level of confidence."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence:g}; it should be above 0 and below 1, such as 0.95")
