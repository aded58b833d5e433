"""The levels of all axes together: each with each, or a sample of them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Annotated, Literal

from pydantic import Field

from hardware_profiles.yaml_file import strict
from simulator.sweep.axis import Axis

Labels = dict[str, object]
"""What each path is set to."""

MAX_POINTS = 100_000
"""Their summaries are held in memory for the table: about 20 kB each."""


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class SampleChoice:
    """So many `points` drawn with a `seed`, each axis alike and by itself.

    `method` is random, which draws them one by one, or latin_hypercube, which divides each axis into as many equal parts as
    there are points, and has each part once. Source: McKay, Beckman and Conover, Technometrics 21 (1979), 239.
    """

    points: Annotated[int, Field(strict=True, ge=1, le=MAX_POINTS)]
    method: Literal["random", "latin_hypercube"] = "random"
    seed: Annotated[int, Field(strict=True, ge=0, lt=1 << 64)] = 0


def count(axes: Sequence[Axis], sample: SampleChoice | None) -> int:
    """Return how many points `draw` gives."""
    return prod(len(axis.levels) for axis in axes) if sample is None else sample.points


def draw(axes: Sequence[Axis], sample: SampleChoice | None) -> Iterator[Labels]:
    """Yield the labels of all points: of a grid with the last axis the fastest, of a sample as they are drawn."""
    if sample is None:
        for levels in product(*(axis.levels for axis in axes)):
            yield labels_of(axes, levels)
        return
    for drawn in shares(len(axes), sample):
        yield labels_of(axes, [axis.at(share) for axis, share in zip(axes, drawn, strict=True)])


def labels_of(axes: Sequence[Axis], levels: Sequence[tuple[object, ...]]) -> Labels:
    """Return what each path is set to by a level of each axis."""
    return {
        path: value
        for axis, level in zip(axes, levels, strict=True)
        for path, value in zip(axis.paths, level, strict=True)
    }


def shares(num_axes: int, sample: SampleChoice) -> Iterator[tuple[float, ...]]:
    """Yield where on each axis each point lies, from 0 to below 1."""
    return zip(*(_shares(sample, axis) for axis in range(num_axes)), strict=True)


def _shares(sample: SampleChoice, axis: int) -> Sequence[float]:
    """Return where on an axis each point lies. Axes do not disturb each other's numbers."""
    numbers = random.Random(f"{sample.seed}/{axis}")
    shares = [numbers.random() for _ in range(sample.points)]
    if sample.method == "random":
        return shares
    order = sorted(range(sample.points), key=[numbers.random() for _ in range(sample.points)].__getitem__)
    return [(part + share) / sample.points for part, share in zip(order, shares, strict=True)]
