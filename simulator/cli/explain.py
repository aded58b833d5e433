"""`moesim explain`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from hardware_profiles.errors import InputError
from simulator.cli.options import WholeNumber
from simulator.cli.progress import work_progress
from simulator.cli.settings import apply_settings
from simulator.explain.explain import DEFAULT_SHARE
from simulator.explain.explain import explain as explain_values
from simulator.explain.metrics import METRIC
from simulator.explain.source import differences, find_source
from simulator.explain.table import render_explanation
from simulator.explain.write import STORE, ExplanationFolder
from simulator.results import summary_json
from simulator.scenario import build_scenario, read_scenario

_INPUT = Group.create_ordered("What to explain")
_HOW = Group.create_ordered("How to run it")
_OUTPUT = Group.create_ordered("What comes out")
_WIDTH_WITHOUT_TERMINAL = 200


def explain(
    run: Path,
    /,
    *,
    max_tokens: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=_INPUT, negative="")] = None,
    objective: Annotated[str | None, Parameter(group=_INPUT)] = None,
    share: Annotated[float, Parameter(group=_INPUT)] = DEFAULT_SHARE,
    jobs: Annotated[WholeNumber | None, Parameter(group=_HOW)] = None,
    store: Annotated[Path | None, Parameter(group=_HOW)] = None,
    out: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
) -> None:
    """Say where the time of a run went, and what would help.

    Parameters
    ----------
    run
        A folder that moesim run --out wrote, or a scenario file.
    max_tokens
        End each run after so many output tokens; of a closed batch.
    set_
        Set any field of the scenario before it is explained, or any figure of its machine; may be repeated.
    objective
        What runs are judged by: tpot_mean_s, tpot_p99_s, ttft_p99_s, throughput_tokens_per_s, goodput_requests_per_s and
        others; by default mean TPOT, and goodput of a service that misses its objectives.
    share
        What is too little to matter, as a share: 0.01 is 1 %.
    jobs
        How many runs at once; by default as many as there are processor cores.
    store
        Keep the results of runs in this folder; by default in the folder store of --out. Explanations and sweeps may
        share one.
    out
        Write explain.json and the page explain.html to this folder.
    json
        Print explain.json to stdout, and nothing else.
    overwrite
        Replace the explanation of another run in that folder.
    """
    if jobs is not None and jobs < 1:
        raise InputError("--jobs", f"{jobs} is not a number of runs at once; name 1 or more")
    if not 0 < share < 1:
        raise InputError("--share", f"{share} is not a share; name one above 0 and below 1, such as 0.01")
    if objective is not None and objective not in METRIC:
        raise InputError("--objective", f"{objective!r} is not known; known: {', '.join(METRIC)}")
    source = find_source(run)
    values = read_scenario(source.path)
    given = [*([f"max_tokens={max_tokens}"] if max_tokens is not None else []), *(set_ or [])]
    apply_settings(values, given)
    build_scenario(values, str(source.path))
    definition = {"source": str(source.path), "given": given, "scenario": values, "share": share}
    folder = ExplanationFolder(out, definition, overwrite=overwrite) if out is not None else None
    kept = store or (out / STORE if out is not None else None)
    try:
        with work_progress() as work:
            facts = explain_values(
                values,
                scenario=str(source.path),
                given=given,
                objective=objective,
                share=share,
                store=kept,
                jobs=jobs or os.cpu_count() or 1,
                done=work,
                fault=sys.stderr.write,
            )
    except KeyboardInterrupt:
        _tell_kept(kept)
        raise
    if not given:
        facts["warnings"] = [*_texts(facts["warnings"]), *differences(source, _mapping(facts["as_it_is"]))]
    if folder is not None:
        folder.write(facts)
    if json:
        sys.stdout.write(summary_json(facts))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)
    console.print(render_explanation(facts))
    if out is not None:
        console.print(f"results: {out}/", soft_wrap=True)


def _tell_kept(store: Path | None) -> None:
    """Say what becomes of the runs that were done when somebody pressed Ctrl-C."""
    sys.stderr.write(
        "moesim: nothing is kept; name an --out or a --store to go on where it was\n"
        if store is None
        else f"moesim: what is done is kept in {store}/; the same command goes on from there\n"
    )


def _mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, list)
    return value
