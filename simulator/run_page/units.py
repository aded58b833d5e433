"""In which unit a plot says what: the largest in which its largest value is at least one."""

from collections.abc import Iterable

_DURATIONS = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))
_BYTES = (("GiB", 2.0**-30), ("MiB", 2.0**-20), ("KiB", 2.0**-10), ("B", 1.0))


def duration_unit(seconds: Iterable[float]) -> tuple[str, float]:
    """Return a unit of time, and how many of it a second has."""
    return _unit(seconds, _DURATIONS)


def bytes_unit(num_bytes: Iterable[float]) -> tuple[str, float]:
    """Return a unit of memory, and how many of it a byte has."""
    return _unit(num_bytes, _BYTES)


def _unit(values: Iterable[float], units: tuple[tuple[str, float], ...]) -> tuple[str, float]:
    largest = max(values, default=0.0)
    return next((unit for unit in units if largest * unit[1] >= 1), units[-1] if largest else units[0])
