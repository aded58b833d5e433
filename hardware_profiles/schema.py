"""The dotted paths of a hardware profile, read off its dataclasses: what stands there and in which unit."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

from hardware_profiles.profile import (
    Bytes,
    BytesPerSecond,
    Count,
    Dollars,
    DollarsPerHour,
    DollarsPerKwh,
    DurationByAttendedTokens,
    DurationByBytes,
    DurationByTokens,
    Flops,
    Fraction,
    HardwareProfile,
    Hours,
    PositiveSeconds,
    Seconds,
    Share,
    Watts,
    WholeCount,
)
from hardware_profiles.quantity import Dimension

DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4")
"""The dtypes whose FLOP/s may be set on a profile that has none for them."""

_DIMENSION = {
    Bytes: Dimension.BYTES,
    BytesPerSecond: Dimension.BYTES_PER_S,
    Count: Dimension.COUNT,
    Dollars: Dimension.DOLLARS,
    DollarsPerHour: Dimension.DOLLARS_PER_HOUR,
    DollarsPerKwh: Dimension.DOLLARS_PER_KWH,
    Flops: Dimension.FLOPS,
    Fraction: Dimension.FRACTION,
    Share: Dimension.FRACTION,
    Hours: Dimension.HOURS,
    PositiveSeconds: Dimension.SECONDS,
    Seconds: Dimension.SECONDS,
    Watts: Dimension.WATTS,
    WholeCount: Dimension.COUNT,
}
_AMOUNT: Mapping[object, str] = {
    DurationByTokens: "tokens",
    DurationByAttendedTokens: "attended_tokens",
    DurationByBytes: "bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What stands at a dotted path: a text, a figure in a unit of `dimension`, a duration, or figures by dtype.

    `amount` is the key of what a duration's table goes by (`tokens`).
    """

    form: Literal["text", "figure", "duration", "by_dtype"]
    dimension: Dimension | None
    optional: bool
    amount: str | None = None


@cache
def places() -> Mapping[str, Place]:
    """Return every dotted path of a profile; figures by dtype under the path of their group (`gpu.flops`)."""
    return dict(_walk(HardwareProfile, ""))


def _walk(block: type, prefix: str) -> list[tuple[str, Place]]:
    hints = get_type_hints(block, include_extras=True)
    found: list[tuple[str, Place]] = []
    for field in fields(block):
        hint, optional = _without_none(hints[field.name])
        path = prefix + field.name
        if is_dataclass(hint) and isinstance(hint, type):
            found += _walk(hint, f"{path}.")
        elif hint in _DIMENSION:
            found.append((path, Place(form="figure", dimension=_DIMENSION[hint], optional=optional)))
        elif hint in _AMOUNT:
            place = Place(form="duration", dimension=Dimension.SECONDS, optional=optional, amount=_AMOUNT[hint])
            found.append((path, place))
        elif get_origin(hint) is dict:
            found.append((path, Place(form="by_dtype", dimension=_DIMENSION[get_args(hint)[1]], optional=optional)))
        else:
            found.append((path, Place(form="text", dimension=None, optional=optional)))
    return found


def _without_none(hint: object) -> tuple[object, bool]:
    if get_origin(hint) in (Union, UnionType) and type(None) in get_args(hint):
        (only,) = (option for option in get_args(hint) if option is not type(None))
        return only, True
    return hint, False


def place_at(path: str) -> Place | None:
    """Return what stands at `path`, a figure of a dtype (`gpu.flops.bf16`) included; None where nothing can."""
    if path in places():
        return places()[path]
    group, _, _ = path.rpartition(".")
    by_dtype = places().get(group)
    if by_dtype is None or by_dtype.form != "by_dtype":
        return None
    return Place(form="figure", dimension=by_dtype.dimension, optional=False)


def members(group: str) -> list[str]:
    """Return the paths below a group (`link.h2d`); empty where `group` is no group."""
    return [path for path in settable_paths() if path.startswith(f"{group}.")]


def settable_paths() -> list[str]:
    """Return every path that holds a text, a figure or a duration, with the groups by dtype spelled out."""
    paths: list[str] = []
    for path, place in places().items():
        paths += [f"{path}.{dtype}" for dtype in DTYPES] if place.form == "by_dtype" else [path]
    return paths
