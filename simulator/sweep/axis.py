"""An axis: the values that a path of a scenario, or of its machine, takes; or several paths together.

    cache.frac: [0.1, 0.25, 0.5]
    batch: {from: 1, to: 16, step: 5}
    link.h2d.bandwidth: {from: "10 GB/s", to: "80 GB/s", points: 4, scale: log}

Of a span in a sample, or in a search, neither `points` nor `step` is needed: any value of it may be drawn. Values in
between are written with six digits; where both ends are whole numbers they are whole.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

Level = tuple[object, ...]
"""What the paths of an axis are set to, in their order."""

MAX_LEVELS = 100_000

_KEYS = ("from", "to", "points", "step", "scale")
_NUMBER = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(\S.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """All values from `low` to `high`, in `unit` (empty for plain numbers)."""

    low: Decimal
    high: Decimal
    unit: str
    is_log: bool
    is_whole: bool

    def at(self, share: float) -> object:
        """Return the value that lies at a share of the way, from 0 to 1; on a logarithmic scale of that of the logarithm."""
        low, high = float(self.low), float(self.high)
        value = low * math.exp(share * math.log(high / low)) if self.is_log else low + share * (high - low)
        return self.written(Decimal(f"{value:.6g}"))

    def written(self, number: Decimal) -> object:
        """Return a number of the span as a scenario has it: with its unit, whole where the ends are."""
        if self.unit:
            return f"{number.normalize():f} {self.unit}"
        return round(number) if self.is_whole else float(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The paths that are set together, and to what: one of `levels`, or anything in `span`, where points are drawn.

    Levels that `is_ordered` rise along one scale.
    """

    paths: tuple[str, ...]
    levels: tuple[Level, ...] = ()
    span: Span | None = None
    is_ordered: bool = False

    def at(self, share: float) -> Level:
        """Return the level that lies at a share of the way, from 0 to below 1."""
        if self.span is not None:
            return (self.span.at(share),)
        return self.levels[min(int(share * len(self.levels)), len(self.levels) - 1)]


def parse_axis(path: str, value: object, *, is_sampled: bool) -> Axis:
    """Read the values of one path. Raises ValueError, saying what is wrong and what to write."""
    if isinstance(value, Mapping):
        return _parse_span(path, value, is_sampled=is_sampled)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{value!r} is no list; write [{value!r}, ...], or {{from: ..., to: ..., points: ...}}")
    if not value:
        raise ValueError("is an empty list; give a value, or leave the axis out")
    twice = next((item for place, item in enumerate(value) if _is_in(item, value[:place])), _NONE)
    if twice is not _NONE:
        raise ValueError(f"{twice!r} stands twice; keep one")
    return Axis(paths=(path,), levels=tuple((item,) for item in value), is_ordered=_rises(value))


def parse_zip(group: object) -> Axis:
    """Read lists that are gone through together. Raises ValueError."""
    if not isinstance(group, Mapping) or not all(isinstance(part, list) and part for part in group.values()):
        raise ValueError("is no mapping of paths to lists; write {cache.frac: [0.1, 0.2], batch: [1, 2]}")
    if len(group) < 2:
        raise ValueError("names fewer than two paths; a single one goes into axes")
    lengths = {path: len(part) for path, part in group.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{path} has {length}" for path, length in lengths.items())
        raise ValueError(f"lists of different lengths: {told}; make them equal")
    return Axis(paths=tuple(map(str, group)), levels=tuple(zip(*group.values(), strict=True)))


_NONE = object()


def _is_in(item: object, others: Sequence[object]) -> bool:
    """Tell whether an item is among others; 1, 1.0 and true are three."""
    return any(item == other and type(item) is type(other) for other in others)


def _rises(values: Sequence[object]) -> bool:
    """Tell whether values are numbers, each above the one before."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and all(low < high for low, high in pairwise(numbers))


def _parse_span(path: str, value: Mapping[object, object], *, is_sampled: bool) -> Axis:
    unknown = [str(key) for key in value if key not in _KEYS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: unknown key; a span has {', '.join(_KEYS)}")
    if "from" not in value or "to" not in value:
        raise ValueError("a span needs from and to")
    (low, unit), (high, other_unit) = _parsed(value["from"], "from"), _parsed(value["to"], "to")
    if unit != other_unit:
        raise ValueError(f"from is in {unit or 'no unit'}, to in {other_unit or 'no unit'}; write both in the same")
    if not low < high:
        raise ValueError(f"from {value['from']} is not below to {value['to']}")
    scale = value.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise ValueError(f"scale: {scale!r} is not known; known: linear, log")
    if scale == "log" and low <= 0:
        raise ValueError(f"scale: log needs from above 0, and it is {value['from']}")
    is_whole = all(isinstance(value[end], int) for end in ("from", "to"))
    span = Span(low=low, high=high, unit=unit, is_log=scale == "log", is_whole=is_whole)
    if "points" in value and "step" in value:
        raise ValueError("points and step are given; keep one")
    if "points" in value:
        return Axis(paths=(path,), levels=_spaced(span, value["points"]), is_ordered=True)
    if "step" in value:
        return Axis(paths=(path,), levels=_stepped(span, value["step"]), is_ordered=True)
    if not is_sampled:
        raise ValueError("a span needs points or step, or a sample that draws from it")
    return Axis(paths=(path,), span=span)


def _parsed(value: object, key: str) -> tuple[Decimal, str]:
    """Return a number and its unit."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return Decimal(repr(value)), ""
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] is None:
        raise ValueError(f"{key}: {value!r} is no number, nor one with a unit in quotes")
    try:
        return Decimal(match[1]), match[2].strip()
    except ArithmeticError:
        raise ValueError(f"{key}: {value!r} is no number, nor one with a unit in quotes") from None


def _spaced(span: Span, points: object) -> tuple[Level, ...]:
    if not isinstance(points, int) or isinstance(points, bool) or not 2 <= points <= MAX_LEVELS:
        raise ValueError(f"points: {points!r}; write a whole number from 2 to {MAX_LEVELS}")
    spaced = [span.at(place / (points - 1)) for place in range(points)]
    return tuple((value,) for value in dict.fromkeys([*spaced[:-1], span.written(span.high)]))


def _stepped(span: Span, step: object) -> tuple[Level, ...]:
    if span.is_log:
        raise ValueError("step goes with scale linear; give points")
    width, unit = _parsed(step, "step")
    if unit != span.unit:
        raise ValueError(f"step is in {unit or 'no unit'}, from in {span.unit or 'no unit'}; write both in the same")
    if width <= 0 or (span.is_whole and not isinstance(step, int)):
        raise ValueError(f"step: {step!r}; write a{' whole' if span.is_whole else ''} number above 0")
    count = int((span.high - span.low) / width) + 1
    if count > MAX_LEVELS:
        raise ValueError(f"step: {step!r} makes {count} values; at most {MAX_LEVELS}")
    return tuple((span.written(span.low + place * width),) for place in range(count))
