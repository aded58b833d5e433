"""`moesim compare`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from hardware_profiles.errors import InputError
from simulator.cli.options import WholeNumber
from simulator.cli.progress import run_progress
from simulator.cli.replications import jobs_or_cores
from simulator.cli.settings import apply_settings
from simulator.compare.choose import chosen_systems, replaced_in
from simulator.compare.facts import comparison_facts
from simulator.compare.run import Comparison
from simulator.compare.run import compare as run_comparison
from simulator.compare.table import render_comparison, title_of
from simulator.compare.write import ComparisonFolder
from simulator.results import summary_json
from simulator.scenario import build_scenario, read_scenario

_INPUT = Group.create_ordered("What to compare")
_OUTPUT = Group.create_ordered("What comes out")
_WIDTH_WITHOUT_TERMINAL = 200


def compare(
    scenario: Path,
    /,
    *,
    systems: Annotated[str, Parameter(group=_INPUT)] = "all",
    max_tokens: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=_INPUT, negative="")] = None,
    replications: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    store: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    jobs: Annotated[WholeNumber | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    out: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
) -> None:
    """Run systems side by side on one scenario: which is fastest here, and what it costs the output.

    Parameters
    ----------
    scenario
        A YAML file; its own system and policies are laid aside for those of each system.
    systems
        Names divided by commas (see moesim systems), or all.
    max_tokens
        End each run after so many output tokens.
    set_
        Set any field of the scenario (cache.frac=0.1), or any figure of the machine; may be repeated.
    replications
        Run each system so often, each time with other requests, the same for all systems; say whether it differs from
        on_demand.
    store
        Keep the result of every run in this folder, and take those that are there: a call that was interrupted goes on.
    jobs
        How many to run at once; by default as many as there are processor cores.
    json
        Print the comparison as JSON to stdout, and nothing else.
    out
        Write compare.json, compare.csv and compare.html to this folder.
    overwrite
        Replace the results of an earlier comparison in that folder.
    """
    at_once = jobs_or_cores(jobs)
    values = read_scenario(scenario)
    if max_tokens is not None:
        values["max_tokens"] = max_tokens
    apply_settings(values, set_ or [])
    source = str(scenario)
    names = chosen_systems(systems)
    build_scenario(values, source)
    laid_aside = replaced_in(values)

    folder = ComparisonFolder(out, overwrite=overwrite) if out is not None else None
    with folder or nullcontext():
        with run_progress(len(names) * (replications or 1), "runs" if replications else "systems") as done:
            comparison = run_comparison(
                names, values, jobs=at_once, done=done, replications=replications, store=store, source=source
            )
        _require_one(comparison, source)
        facts = comparison_facts(comparison, source)
        if laid_aside:
            facts["notes"] = [f"laid aside of the scenario: {', '.join(laid_aside)}", *comparison.notes]
        if folder is not None:
            folder.write(facts)
    for outcome in comparison.outcomes:
        sys.stderr.write(outcome.traceback)
    if json:
        sys.stdout.write(summary_json(facts))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)
    console.print(render_comparison(facts, title_of(facts)))
    if out is not None:
        console.print(f"results: {out}/", soft_wrap=True)


def _require_one(comparison: Comparison, source: str) -> None:
    """Raise InputError, with the reasons, if no system could be run."""
    if all(outcome.summary is None for outcome in comparison.outcomes):
        reasons: dict[str, list[str]] = {}
        for outcome in comparison.outcomes:
            reasons.setdefault(outcome.reason, []).append(outcome.system)
        if len(reasons) == 1:
            raise InputError(source, f"no system could be run: {next(iter(reasons))}")
        raise InputError(source, [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()])
