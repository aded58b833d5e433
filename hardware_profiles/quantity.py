"""Physical quantities written as strings with units: `"25 GB/s"`, `"8 us"`, `"24 GiB"`, `"989 TFLOP/s"`.

A bare number is refused: a reader of a scenario must never have to guess whether 25 means bytes, GB or GiB.
Numbers are parsed with Decimal, so that `"0.1 us"` is exactly 100 ns and no YAML reading of `25e9` matters.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum

_DECIMAL_PREFIX = {"": 0, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15}
_BINARY_PREFIX = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}


class Dimension(Enum):
    """What a quantity measures; the value is the unit in which parsed quantities are given."""

    BYTES = "bytes"
    BYTES_PER_S = "bytes/s"
    FLOPS = "FLOP/s"
    SECONDS = "s"
    BITS_PER_WEIGHT = "bit/weight"
    WATTS = "W"
    DOLLARS = "USD"
    DOLLARS_PER_HOUR = "USD/h"
    DOLLARS_PER_KWH = "USD/kWh"
    HOURS = "h"
    FRACTION = "fraction of 1"
    COUNT = "cores"
    TRANSFERS_PER_S = "transfers/s"


def _scaled(symbol: str, *, binary: bool) -> dict[str, Decimal]:
    units = {prefix + symbol: Decimal(10) ** power for prefix, power in _DECIMAL_PREFIX.items()}
    if binary:
        units |= {prefix + symbol: Decimal(2) ** power for prefix, power in _BINARY_PREFIX.items()}
    return units


_UNITS: dict[Dimension, dict[str, Decimal]] = {
    Dimension.BYTES: _scaled("B", binary=True),
    Dimension.BYTES_PER_S: _scaled("B/s", binary=True),
    Dimension.FLOPS: _scaled("FLOP/s", binary=False),
    Dimension.SECONDS: {
        "ns": Decimal("1e-9"),
        "us": Decimal("1e-6"),
        "µs": Decimal("1e-6"),
        "ms": Decimal("1e-3"),
        "s": Decimal(1),
    },
    Dimension.BITS_PER_WEIGHT: {"bit": Decimal(1), "bit/weight": Decimal(1)},
    Dimension.WATTS: _scaled("W", binary=False),
    Dimension.DOLLARS: {"USD": Decimal(1)},
    Dimension.DOLLARS_PER_HOUR: {"USD/h": Decimal(1)},
    Dimension.DOLLARS_PER_KWH: {"USD/kWh": Decimal(1)},
    Dimension.HOURS: {"h": Decimal(1), "days": Decimal(24), "years": Decimal(8766)},  # of 365.25 days
    Dimension.FRACTION: {"%": Decimal("0.01"), "of 1": Decimal(1)},
    Dimension.COUNT: {"cores": Decimal(1), "workers": Decimal(1)},
    Dimension.TRANSFERS_PER_S: _scaled("T/s", binary=False),
}

_EXAMPLE = {
    Dimension.BYTES: '"24 GiB" or "500 MB"',
    Dimension.BYTES_PER_S: '"25 GB/s"',
    Dimension.FLOPS: '"989 TFLOP/s"',
    Dimension.SECONDS: '"8 us" or "1.5 ms"',
    Dimension.BITS_PER_WEIGHT: '"4.25 bit"',
    Dimension.WATTS: '"450 W"',
    Dimension.DOLLARS: '"1600 USD"',
    Dimension.DOLLARS_PER_HOUR: '"0.69 USD/h"',
    Dimension.DOLLARS_PER_KWH: '"0.30 USD/kWh"',
    Dimension.HOURS: '"3 years" or "720 h"',
    Dimension.FRACTION: '"80 %" or "0.8 of 1"',
    Dimension.COUNT: '"16 cores"',
    Dimension.TRANSFERS_PER_S: '"16 GT/s"',
}

_QUANTITY = re.compile(r"([+-]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)\s*(\S.*)?")

_LARGEST = Decimal("1e30")


def parse_quantity(text: object, dimension: Dimension) -> Decimal:
    """Parse `text` into the unit that `dimension` names; exact.

    Raises ValueError, saying what was wrong and giving an example, for a bare number, an unknown or a wrong unit, a
    negative value, or anything that is not a string.
    """
    example = f"write it with a unit of {dimension.value}, such as {_EXAMPLE[dimension]}"
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"{text!r} is a bare number; {example}")
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a quantity; {example}")
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a number with a unit; {example}")
    number, unit = match.groups()
    if unit is None:
        raise ValueError(f"{text!r} is a bare number; {example}")
    factor = _UNITS[dimension].get(unit.strip())
    if factor is None:
        raise ValueError(f"{text!r} has the unit {unit!r}, which is not one of {dimension.value}; {example}")
    try:
        value = Decimal(number) * factor
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number with a unit; {example}") from None
    if value > _LARGEST:
        raise ValueError(f"{text!r} is larger than anything that a machine has; {example}")
    if value < 0:
        raise ValueError(f"{text!r} is negative; {example}")
    return value


def example_of(dimension: Dimension) -> str:
    """Return how a quantity may be written, for people: `"25 GB/s"`."""
    return _EXAMPLE[dimension]


def quantity_pattern(dimension: Dimension) -> str:
    """Return a regular expression of the texts that `parse_quantity` takes, as JSON Schema has them."""
    units = "|".join(sorted(_UNITS[dimension]))  # no unit has a character that a pattern would read
    return rf"^\s*\+?[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]{{1,3}})?\s*({units})\s*$"


def format_quantity(value: float, dimension: Dimension) -> str:
    """Write `value`, in the base unit of `dimension`, so that `parse_quantity` gives that very float: `17.3 MB`.

    Of the units the largest that leaves a number of 1 or more; of bytes, GiB and its like where that is shorter.
    Raises ValueError for what no quantity can be: negative, infinite, not a number, too large.
    """
    exact = Decimal(repr(float(value)))
    if not exact.is_finite() or not 0 <= exact <= _LARGEST:
        raise ValueError(f"{value!r} {dimension.value} is nothing that a machine has")
    units = {"%": Decimal("0.01")} if dimension is Dimension.FRACTION else _UNITS[dimension]
    decimal = {unit: factor for unit, factor in units.items() if factor.normalize().as_tuple().digits == (1,)}
    written = [_in_largest_unit(exact, decimal)]
    if dimension is Dimension.BYTES:
        binary = {unit: factor for unit, factor in units.items() if unit not in decimal and exact % factor == 0}
        written += [_in_largest_unit(exact, binary)] if binary and exact else []
    return min(written, key=len)


def _in_largest_unit(value: Decimal, units: Mapping[str, Decimal]) -> str:
    """Write `value` in the largest unit that leaves 1 or more, else in the smallest; of equal units in the first."""
    ascending = sorted(units, key=lambda unit: units[unit])
    unit = next((unit for unit in reversed(ascending) if value >= units[unit]), ascending[0])
    first = next(name for name in ascending if units[name] == units[unit])
    return f"{(value / units[first]).normalize():f} {first}"


def format_bytes(num_bytes: float) -> str:
    """Write a number of bytes for people: `1.5 GiB`."""
    value = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def format_decimal_bytes(num_bytes: float) -> str:
    """Write a number of bytes for people in powers of ten, as profiles state weights: `17.3 MB`."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= 0.9995 * factor:  # what three digits write as 1000 goes to the next unit
            return f"{num_bytes / factor:.3g} {unit}"
    return f"{num_bytes:.3g} B"


def format_seconds(seconds: float) -> str:
    """Write a duration for people: `100 us`, `1.5 ms`."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"
