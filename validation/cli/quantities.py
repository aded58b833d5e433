"""Times and other quantities as options of commands."""

import re

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import Dimension, parse_quantity


def parse_time(option: str, text: str, *, least_s: float = 0.0) -> float:
    """Return seconds, of text such as `90 s` or `3 min`. Raises InputError for what is none, and for less than `least_s`."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*min\s*", text)
    seconds = 60 * float(match[1]) if match else _parse(option, text, Dimension.SECONDS)
    if seconds < least_s:
        raise InputError(option, f"is {text!r}; it should be {least_s:g} s at least, and better minutes")
    return seconds


def parse_positive(option: str, text: str, dimension: Dimension) -> float:
    """Return a quantity in its base unit. Raises InputError for what is none, and for zero."""
    value = _parse(option, text, dimension)
    if value <= 0:
        raise InputError(option, f"is {text!r}; it has to be more than zero")
    return value


def _parse(option: str, text: str, dimension: Dimension) -> float:
    try:
        return float(parse_quantity(text, dimension))
    except ValueError as error:
        raise InputError(option, str(error)) from None
