"""Kinds of values that scenarios are made of, checked as they are read."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from hardware_profiles.quantity import Dimension, parse_quantity


def _bytes_text(value: object) -> object:
    if value is not None:
        parse_quantity(value, Dimension.BYTES)
    return value


def _time_text(value: object) -> object:
    parse_quantity(value, Dimension.SECONDS)
    return value


def _fraction(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"{value} is not a share of the experts; write a number above 0 and up to 1")
    return value


Count = Annotated[int, Field(strict=True, ge=1, le=10**12)]
Whole = Annotated[int, Field(strict=True, ge=0, lt=1 << 64)]
BytesText = Annotated[str | None, BeforeValidator(_bytes_text)]
TimeText = Annotated[str, BeforeValidator(_time_text)]
Share = Annotated[float | None, AfterValidator(lambda value: value if value is None else _fraction(value))]
