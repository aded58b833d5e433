"""Rows as a frame of pandas, which is imported when it is asked for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hardware_profiles.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame


def frame(rows: Sequence[Mapping[str, object]]) -> "DataFrame":
    """Return rows of equal keys as a frame. None and empty texts are missing; whole numbers stay whole beside them.

    Raises InputError where pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise InputError("to_frame", "needs pandas; install it with: pip install 'moesim[pandas]'") from None
    columns = {name: [None if row[name] == "" else row[name] for row in rows] for name in (rows[0] if rows else ())}
    return pandas.DataFrame({name: pandas.Series(values, dtype=_kind(values)) for name, values in columns.items()})


def _kind(values: Sequence[object]) -> str:
    """Return the type of a column: Int64, float64, or object."""
    there = [value for value in values if value is not None]
    if not there or any(isinstance(value, bool) or not isinstance(value, int | float) for value in there):
        return "object"
    return "Int64" if all(isinstance(value, int) for value in there) else "float64"
