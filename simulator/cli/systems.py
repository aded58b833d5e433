"""`moesim systems`: the systems that ship, and what each is made of."""

import json as json_module
import sys
from typing import Annotated

import yaml
from cyclopts import Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from simulator.systems import System, read_system, system_names

_WIDTH_WITHOUT_TERMINAL = 200


def systems(
    name: str | None = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """List the systems that ship, or show one in detail.

    Parameters
    ----------
    name
        A system that ships; without, all are listed.
    json
        Write JSON instead of a table.
    """
    if name is not None and name not in system_names():
        raise InputError(f"system {name!r}", f"is not known; {one_of(name, system_names())}")
    chosen = [read_system(each) for each in (system_names() if name is None else [name])]
    if json:
        values = [_plain(system) for system in chosen]
        sys.stdout.write(json_module.dumps(values if name is None else values[0], indent=2) + "\n")
        return
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(_overview(chosen) if name is None else _detail(chosen[0]))


def _plain(system: System) -> dict[str, object]:
    texts = {key: getattr(system, key) for key in ("name", "description", "source", "quality", "differs")}
    return texts | {"settings": dict(system.settings)}


def _overview(chosen: list[System]) -> Table:
    table = Table(
        caption="source, differences and settings of one: moesim systems NAME",
        caption_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("system", no_wrap=True)
    table.add_column("what it does", ratio=3)
    table.add_column("what the output loses", ratio=2)
    for system in chosen:
        table.add_row(system.name, system.description, system.quality or "-")
    return table


def _detail(system: System) -> Table:
    table = Table(title=system.name, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("what it does", system.description)
    table.add_row("source", system.source)
    table.add_row("what the output loses", system.quality or "nothing")
    table.add_row("differs from it", system.differs or "-")
    table.add_row("settings", yaml.safe_dump(dict(system.settings), sort_keys=False).rstrip())
    return table
