"""A promise: bounds on figures of a run, and how far a run is from each.

    most: {tpot_p99_s: "80 ms", ttft_p99_s: "2 s"}
    least: {throughput_tokens_per_s: 20}

Figures are named as in a sweep's table. A time is written with its unit, bytes too, all else as a number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardware_profiles.quantity import Dimension, format_bytes, parse_quantity
from simulator.durations import format_duration
from simulator.workload.quantities import parse_span_ns

_SIDES = ("most", "least")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A figure that is to be at most, or at least, a limit above 0, in the unit of its name."""

    metric: str
    limit: float
    is_most: bool

    def headroom(self, value: float) -> float:
        """Return which share of the limit is left; negative where the bound is broken."""
        left = self.limit - value if self.is_most else value - self.limit
        return left / self.limit

    def __str__(self) -> str:
        return f"{self.metric} at {'most' if self.is_most else 'least'} {shown(self.metric, self.limit)}"


def parse_promise(given: object) -> Sequence[Bound]:
    """Read the bounds of a promise. Raises ValueError, saying what is wrong and what to write."""
    if not isinstance(given, Mapping) or not given or not all(isinstance(part, Mapping) for part in given.values()):
        raise ValueError('is no promise; write {most: {tpot_p99_s: "80 ms"}}')
    unknown = [str(side) for side in given if side not in _SIDES]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: unknown key; a promise has {' and '.join(_SIDES)}")
    bounds = [
        Bound(metric=str(metric), limit=_limit(str(metric), value), is_most=side == "most")
        for side in _SIDES
        for metric, value in given.get(side, {}).items()
    ]
    if not bounds:
        raise ValueError('promises nothing; write {most: {tpot_p99_s: "80 ms"}}')
    return bounds


def shown(metric: str, value: float) -> str:
    """Write a figure with the unit that its name ends in."""
    if metric.endswith("_s") and not metric.endswith("_per_s"):
        return format_duration(value)
    if metric.endswith("_bytes"):
        return format_bytes(value)
    return f"{value:.4g}"


def _limit(metric: str, value: object) -> float:
    try:
        limit = _number(metric, value)
    except ValueError as error:
        raise ValueError(f"{metric}: {error}") from None
    if not limit > 0:
        raise ValueError(f"{metric}: {value!r} is no limit; write one above 0")
    return limit


def _number(metric: str, value: object) -> float:
    if metric.endswith("_s") and not metric.endswith("_per_s"):
        return parse_span_ns(value) / 1e9
    if metric.endswith("_bytes"):
        return float(parse_quantity(value, Dimension.BYTES))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"{value!r} is no number; write one without a unit")
