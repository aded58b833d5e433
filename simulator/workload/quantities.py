"""Rates and spans of time as a workload writes them: `"2 requests/s"`, `"90 /min"`, `"10 min"`, `"1.5 h"`."""

import re
from decimal import Decimal
from fractions import Fraction

from hardware_profiles.quantity import Dimension, parse_quantity

_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:requests? ?)?/ ?(s|min|h)\s*")
_LONG_SPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(min|h)\s*")
RATE_PATTERN = f"^{_RATE.pattern}$"
"""A regular expression of the texts that `parse_rate` takes, 0 among them."""
SPAN_PATTERN = f"^{_LONG_SPAN.pattern}$"
"""A regular expression of the spans of minutes and hours that `parse_span_ns` takes besides what is in seconds."""
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_NS_PER_S = 10**9


def parse_rate(text: object) -> Fraction:
    """Return requests per second, exactly. Raises ValueError for what is no rate above 0."""
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'{text!r} is not a rate; write it with its unit, such as "2 requests/s" or "90 /min"')
    rate = Fraction(match[1]) / _SECONDS[match[2]]
    if not rate:
        raise ValueError(f"{text!r} is no arrivals at all; write a rate above 0")
    return rate


def parse_span_ns(text: object) -> int:
    """Return a span of time in ns. Raises ValueError."""
    match = _LONG_SPAN.fullmatch(text) if isinstance(text, str) else None
    if match is not None:
        return round(Decimal(match[1]) * _SECONDS[match[2]] * _NS_PER_S)
    return round(parse_quantity(text, Dimension.SECONDS) * _NS_PER_S)
