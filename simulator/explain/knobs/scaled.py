"""Figures of a machine times a factor, written as `--set` takes them."""

from collections.abc import Mapping
from fractions import Fraction

from hardware_profiles.profile import Constant, Duration
from hardware_profiles.quantity import Dimension, format_quantity
from simulator.costs.exact import exact

_DIGITS = 6


def times(value: float, factor: Fraction, dimension: Dimension) -> str:
    """Return a figure times a factor as a quantity of six digits."""
    return format_quantity(float(f"{float(exact(value) * factor):.{_DIGITS}g}"), dimension)


def scaled_duration(duration: Duration, factor: Fraction, amount: str) -> object:
    """Return a stated duration times a factor, in the form of a profile; `amount` is what its table goes by (`tokens`)."""
    if isinstance(duration, Constant) and duration.weights_bytes is None:
        return _seconds(duration.seconds, factor)
    return _entry(duration, factor, amount)


def _entry(duration: Duration, factor: Fraction, amount: str) -> Mapping[str, object]:
    entry: dict[str, object] = {"kind": "assumed", "source": "scaled for this run"}
    if isinstance(duration, Constant):
        entry["constant"] = _seconds(duration.seconds, factor)
    else:
        is_bytes = amount == "bytes"
        entry[amount] = [format_quantity(one, Dimension.BYTES) if is_bytes else int(one) for one in duration.amounts]
        entry["time"] = [_seconds(one, factor) for one in duration.seconds]
    if duration.weights_bytes is not None:
        entry["weights"] = format_quantity(duration.weights_bytes, Dimension.BYTES)
    if duration.other_weights:
        entry["other_weights"] = [_entry(one, factor, amount) for one in duration.other_weights]
    return entry


def _seconds(seconds: float, factor: Fraction) -> str:
    return format_quantity(float(exact(seconds) * factor), Dimension.SECONDS)
