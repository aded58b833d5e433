"""A part of a sweep's points, for one of several machines: parts share no point and miss none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hardware_profiles.errors import InputError
from simulator.points.point import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part `index` of `count`, from 1 on: every `count`-th point, so that slow axes are spread evenly."""

    index: int
    count: int

    def of(self, points: Sequence[Point]) -> Sequence[Point]:
        """Return the points of this part."""
        return points[self.index - 1 :: self.count]


def parse_shard(text: str | None) -> Shard | None:
    """Read `2/4`. Raises InputError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError("--shard", f"{text!r} is no part; write 1/4 for the first of four")
    return Shard(index=int(match[1]), count=int(match[2]))
