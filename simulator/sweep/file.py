"""A sweep file: what is varied, and how.

    scenario: demo.yaml
    axes:
      cache.frac: {from: 0.1, to: 0.9, points: 5}
      pcie: [gen4x16, gen5x16]
    zip:
      - {batch: [1, 8], max_tokens: [500, 4000]}
    constraints: [cache.frac * batch <= 4]

Relative paths, in the scenario within it and on its axes, are taken from its folder. All faults are told at once.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import read_yaml, strict, validate
from simulator.scenario import placed, read_scenario, set_path
from simulator.sweep.axis import Axis, parse_axis, parse_zip
from simulator.sweep.constraint import Constraint, parse_constraint
from simulator.sweep.draw import MAX_POINTS, SampleChoice, count

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepChoice:
    """The keys of a sweep file.

    `scenario` is a scenario's file, or its keys. `axes` are gone through each with each, and so is each group of `zip`,
    whose lists are gone through together; or a `sample` is drawn. `metrics` names the columns to keep, as patterns
    (`tpot_*`). `constraints` are conditions on the axes, such as "cache.frac * batch <= 4": points that break one are left
    out. `description` is a text.
    """

    scenario: str | dict[str, object]
    axes: dict[str, object] = field(default_factory=dict)
    zip: list[object] = field(default_factory=list)
    sample: SampleChoice | None = None
    constraints: list[object] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep, checked as far as its file goes. `base` are the scenario's values, from `scenario_path` if it has one."""

    path: Path
    scenario_path: Path | None
    base: Mapping[str, object]
    axes: Sequence[Axis]
    sample: SampleChoice | None
    constraints: Sequence[Constraint]
    metrics: Sequence[str]
    definition: Mapping[str, object]

    @property
    def paths(self) -> list[str]:
        """The paths that are varied, in the order of the file."""
        return [path for axis in self.axes for path in axis.paths]

    def placed_value(self, path: str, value: object) -> object:
        """Return the value of an axis with a relative path taken from the folder of the sweep file."""
        values: dict[str, object] = {}
        set_path(values, path, value)
        here: object = placed(values, self.path.parent)
        head, *_ = path.split(".")
        if not isinstance(here, Mapping) or head not in here:
            return value  # a figure of the machine
        for part in path.split("."):
            assert isinstance(here, Mapping)
            here = here[part]
        return here


@cache
def _adapter() -> "TypeAdapter[SweepChoice]":
    from pydantic import TypeAdapter

    return TypeAdapter(SweepChoice)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file. Raises InputError with all that is wrong with it."""
    return parse_sweep(read_yaml(path), path)


def parse_sweep(values: Mapping[str, object], path: Path, *, is_searched: bool = False) -> Sweep:
    """Take the keys of a sweep file that need not exist: relative paths are from its folder. Raises as `read_sweep`.

    Of a space that is searched spans need no points, and there may be any number of points.
    """
    faults: list[str] = []
    try:
        choice = validate(_adapter(), values, path)
    except InputError as error:
        faults += error.faults
        choice = None
    is_sampled = is_searched or values.get("sample") is not None
    axes = [*_axes(values.get("axes"), faults, is_sampled=is_sampled), *_zips(values.get("zip"), faults)]
    paths = [name for axis in axes for name in axis.paths]
    faults += [f"{name}: stands on two axes; keep one" for name in dict.fromkeys(paths) if paths.count(name) > 1]
    constraints = _constraints(values.get("constraints"), _named(values), faults)
    scenario_path, base = _scenario(values.get("scenario"), path.parent, faults)
    if choice is not None:
        num_points = count(axes, choice.sample)
        if num_points > MAX_POINTS and not is_searched:
            faults.append(f"axes: make {num_points} points, at most {MAX_POINTS}; shorten them, or give a sample")
        if not axes and not faults:
            faults.append("axes: there are none; name what is varied, such as axes: {cache.frac: [0.1, 0.5]}")
    if faults or choice is None:
        raise InputError(path, faults)
    definition: dict[str, object] = {
        key: deepcopy(values[key]) for key in ("axes", "zip", "sample", "constraints") if key in values
    }
    return Sweep(
        path=path,
        scenario_path=scenario_path,
        base=base,
        axes=axes,
        sample=choice.sample,
        constraints=constraints,
        metrics=choice.metrics,
        definition=definition,
    )


def _scenario(given: object, folder: Path, faults: list[str]) -> tuple[Path | None, dict[str, object]]:
    """Return the file of a scenario, if it is given by one, and its plain values."""
    if isinstance(given, dict):
        return None, placed(given, folder)
    if isinstance(given, str):
        try:
            return folder / given, read_scenario(folder / given)
        except InputError as error:
            faults += [f"scenario: {error.source}: {fault}" for fault in error.faults]
    return None, {}


def _named(values: Mapping[str, object]) -> list[str]:
    """Return the paths that a file names on its axes, whether these are well formed or not."""
    axes, zips = values.get("axes"), values.get("zip")
    groups = [axes, *(zips if isinstance(zips, list) else [])]
    return [str(path) for group in groups if isinstance(group, Mapping) for path in group]


def _axes(values: object, faults: list[str], *, is_sampled: bool) -> list[Axis]:
    axes = []
    for path, value in values.items() if isinstance(values, Mapping) else ():
        fault = _path_fault(path)
        if fault:
            faults.append(f"axes.{path}: {fault}")
        try:
            axes.append(parse_axis(path, value, is_sampled=is_sampled))
        except ValueError as error:
            faults.append(f"axes.{path}: {error}")
    return axes


def _zips(values: object, faults: list[str]) -> list[Axis]:
    axes = []
    for place, group in enumerate(values if isinstance(values, list) else ()):
        for path in group if isinstance(group, Mapping) else ():
            fault = _path_fault(path)
            if fault:
                faults.append(f"zip[{place}].{path}: {fault}")
        try:
            axes.append(parse_zip(group))
        except ValueError as error:
            faults.append(f"zip[{place}]: {error}")
    return axes


def _path_fault(path: str) -> str:
    """Say what is wrong with the path of an axis; nothing if it can be one."""
    try:
        set_path({}, path, None)
    except InputError as error:
        return error.faults[0]
    return ""


def _constraints(values: object, axes: Sequence[str], faults: list[str]) -> list[Constraint]:
    constraints = []
    for place, text in enumerate(values if isinstance(values, list) else ()):
        try:
            constraints.append(parse_constraint(text, axes))
        except ValueError as error:
            faults.append(f"constraints[{place}]: {error}")
    return constraints
