"""A space of machines and settings to choose from: a sweep, what its values cost, and what is promised.

    scenario: service.yaml
    axes:
      hardware: [rtx-3090, rtx-4090]
      cache.frac: [0.25, 0.5]
    prices:
      hardware: {rtx-3090: "0.22 USD/h", rtx-4090: "0.35 USD/h"}
    promise:
      most: {tpot_p99_s: "80 ms"}

All keys of a sweep file may stand in it. `prices` say what a value of an axis costs by the hour, a number in
quotes; those of several axes add up, and so does what the machine's own profile says. Of a space with more choices than
`search: {choices: 300}` that many are proposed one after the other; spans need no points then. All faults are told at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import Dimension, parse_quantity
from hardware_profiles.suggest import one_of
from hardware_profiles.yaml_file import read_yaml, strict, validate
from simulator.plan.promise import Bound, parse_promise
from simulator.sweep.command import flow_text
from simulator.sweep.draw import MAX_POINTS
from simulator.sweep.file import Sweep, parse_sweep

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_OWN = ("prices", "promise", "search")
_SAMPLED = "sample and search are given; keep one: a sample is drawn blindly, a search learns from what it has run"
Prices = Mapping[str, Mapping[str, float]]
"""USD per hour, by path and by a value as YAML writes it."""


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchChoice:
    """How a large space is searched: so many `choices` are run at most. Which, depends on the `seed`."""

    choices: Annotated[int, Field(strict=True, ge=1, le=MAX_POINTS)]
    seed: Annotated[int, Field(strict=True, ge=0, lt=1 << 32)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What there is to choose from, what it costs, and what is promised; and how much of it is run, None for all."""

    sweep: Sweep
    prices: Prices
    promise: Sequence[Bound]
    search: SearchChoice | None = None

    def stated_usd_per_hour(self, labels: Mapping[str, object]) -> float | None:
        """Return what the file says that a point costs, None where it says nothing."""
        if not self.prices:
            return None
        return sum(of_value[flow_text(labels[path])] for path, of_value in self.prices.items())


def read_space(path: Path) -> Space:
    """Read a space. Raises InputError with all that is wrong with it."""
    values = read_yaml(path)
    faults: list[str] = []
    sweep: Sweep | None = None
    choice = _search(values.get("search"), path, faults)
    try:
        given = {key: value for key, value in values.items() if key not in _OWN}
        sweep = parse_sweep(given, path, is_searched=choice is not None)
    except InputError as error:
        faults += error.faults
    if choice is not None and values.get("sample") is not None:
        faults.append(_SAMPLED)
    promise: Sequence[Bound] = ()
    try:
        promise = parse_promise(values.get("promise"))
    except ValueError as error:
        faults.append(f"promise: {error}")
    prices = {} if sweep is None else _prices(values.get("prices"), sweep, faults)
    if faults or sweep is None:
        raise InputError(path, faults)
    return Space(sweep=sweep, prices=prices, promise=promise, search=choice)


@cache
def _adapter() -> "TypeAdapter[SearchChoice]":
    from pydantic import TypeAdapter

    return TypeAdapter(SearchChoice)


def _search(given: object, path: Path, faults: list[str]) -> SearchChoice | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        faults.append("search: is no mapping; write {choices: 300}")
        return None
    try:
        return validate(_adapter(), given, path)
    except InputError as error:
        faults += [f"search: {fault}" for fault in error.faults]
        return None


def _prices(given: object, sweep: Sweep, faults: list[str]) -> dict[str, dict[str, float]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(part, Mapping) for part in given.values()):
        faults.append('prices: are no mapping of paths to values; write {hardware: {rtx-4090: "0.35 USD/h"}}')
        return {}
    prices: dict[str, dict[str, float]] = {}
    for path, of_value in given.items():
        levels = _levels(str(path), sweep)
        if not levels:
            faults.append(f"prices.{path}: is no axis with a list of values; {one_of(str(path), sweep.paths)}")
            continue
        named = {str(value): price for value, price in of_value.items()}
        faults += [
            f"prices.{path}.{value}: is no value of this axis; {one_of(value, levels)}"
            for value in named
            if value not in levels
        ]
        faults += [
            f'prices.{path}: {value} has none; write {{{value}: "0.35 USD/h"}}'
            for value in levels
            if value not in named
        ]
        prices[str(path)] = {}
        for value, price in named.items():
            try:
                prices[str(path)][value] = float(parse_quantity(price, Dimension.DOLLARS_PER_HOUR))
            except ValueError as error:
                faults.append(f"prices.{path}.{value}: {error}")
    return prices


def _levels(path: str, sweep: Sweep) -> list[str]:
    """Return the values of a path as YAML writes them; none where it is no axis, or one without a list."""
    for axis in sweep.axes:
        if path in axis.paths:
            place = axis.paths.index(path)
            return list(dict.fromkeys(flow_text(level[place]) for level in axis.levels))
    return []
