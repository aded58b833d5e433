"""`moesim capacity`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from simulator.capacity.facts import capacity_facts
from simulator.capacity.run import find_capacity
from simulator.capacity.table import render_capacity
from simulator.capacity.write import CapacityFolder
from simulator.cli.options import WholeNumber
from simulator.cli.progress import probe_progress
from simulator.cli.replications import jobs_or_cores
from simulator.cli.settings import apply_settings
from simulator.results import summary_json
from simulator.scenario import read_scenario

_INPUT = Group.create_ordered("What to search")
_OUTPUT = Group.create_ordered("What comes out")
_WIDTH_WITHOUT_TERMINAL = 200


def capacity(
    scenario: Path,
    /,
    *,
    share: Annotated[float, Parameter(group=_INPUT)] = 0.99,
    tolerance: Annotated[float, Parameter(group=_INPUT)] = 0.02,
    replications: Annotated[WholeNumber, Parameter(group=_INPUT)] = 1,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=_INPUT, negative="")] = None,
    store: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    jobs: Annotated[WholeNumber | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    out: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
) -> None:
    """Find the largest rate of requests that a service sustains.

    Parameters
    ----------
    scenario
        A YAML file with a workload that arrives at a rate.
    share
        The share of requests that have to keep to their SLO; without one, the backlog may grow by the rest of it.
    tolerance
        End when the rates that are and are not sustained differ by no more than this share.
    replications
        Run each rate so many times, with other requests, and judge all together.
    set_
        Set any field of the scenario (slo.default.ttft="1 s"), or any figure of the machine; may be repeated.
    store
        Keep the result of every run in this folder, and take those that are there: a call that was interrupted goes on.
    jobs
        How many replications to run at once; by default as many as there are processor cores.
    json
        Print the search as JSON to stdout, and nothing else.
    out
        Write capacity.json, capacity.csv and capacity.html to this folder.
    overwrite
        Replace the results of an earlier search in that folder.
    """
    values = read_scenario(scenario)
    apply_settings(values, set_ or [])
    at_once = jobs_or_cores(jobs)
    folder = CapacityFolder(out, overwrite=overwrite) if out is not None else None
    with folder or nullcontext():
        with probe_progress() as told:
            found = find_capacity(
                values,
                str(scenario),
                share=share,
                tolerance=tolerance,
                replications=replications,
                jobs=at_once,
                store=store,
                done=None
                if told is None
                else lambda probe: told(f"x {probe.factor:g}: {'sustained' if probe.is_kept else 'not sustained'}"),
            )
        facts = capacity_facts(found, str(scenario), values, share=share, tolerance=tolerance)
        if folder is not None:
            folder.write(facts)
    if json:
        sys.stdout.write(summary_json(facts))
    else:
        console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)
        console.print(render_capacity(facts))
        if out is not None:
            console.print(f"results: {out}/", soft_wrap=True)
    if facts["partial"]:
        raise KeyboardInterrupt
