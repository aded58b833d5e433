"""`moesim run`."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from hardware_profiles.errors import InputError
from simulator.cli.options import WholeNumber, command_line
from simulator.cli.progress import token_progress
from simulator.cli.replications import run_replications
from simulator.cli.settings import apply_settings
from simulator.html_file import check_html
from simulator.replicate.write import ReplicationFolder
from simulator.report import print_summary, title_of, warnings_of
from simulator.results import REPORT, TIMELINE, ResultFolder, summary_json, write_page
from simulator.run import simulate
from simulator.scenario import build_scenario, read_scenario

_INPUT = Group.create_ordered("What to simulate")
_CACHE = Group.create_ordered("Cache and policies")
_OUTPUT = Group.create_ordered("What comes out")


def run(
    scenario: Path | None = None,
    /,
    *,
    trace: Annotated[str | None, Parameter(group=_INPUT)] = None,
    model: Annotated[str | None, Parameter(group=_INPUT)] = None,
    hardware: Annotated[str | None, Parameter(group=_INPUT)] = None,
    pcie: Annotated[str | None, Parameter(group=_INPUT)] = None,
    batch: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    sequences: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    max_tokens: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    warmup_steps: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    seed: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    system: Annotated[str | None, Parameter(group=_CACHE)] = None,
    eviction: Annotated[str | None, Parameter(group=_CACHE)] = None,
    prefetch: Annotated[str | None, Parameter(group=_CACHE)] = None,
    cache_experts: Annotated[WholeNumber | None, Parameter(group=_CACHE)] = None,
    cache_bytes: Annotated[str | None, Parameter(group=_CACHE)] = None,
    cache_frac: Annotated[float | None, Parameter(group=_CACHE)] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=_CACHE, negative="")] = None,
    store: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    replications: Annotated[WholeNumber | None, Parameter(group=_OUTPUT)] = None,
    jobs: Annotated[WholeNumber | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    out: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    html: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    no_html: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    timeline: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
) -> None:
    """Simulate one scenario: how fast tokens come, and where the time goes.

    Options replace what the scenario file says; without a file they are the scenario, and need at least --trace, --model
    and --hardware.

    Parameters
    ----------
    scenario
        A YAML file; its relative paths are taken from its folder.
    trace
        A routing trace: a .safetensors file or a directory of shards.
    model
        A model that ships (see moesim models), a YAML spec, or a Hugging Face config.json.
    hardware
        A machine that ships (see moesim hardware) or a YAML profile.
    pcie
        Another link between host and GPU, such as gen5x16 (see moesim hardware links).
    batch
        Sequences that decode together.
    sequences
        How many sequences of the trace to run, from the first on.
    max_tokens
        End the run after so many output tokens.
    warmup_steps
        Steps at the start that are run but not measured.
    seed
        Seed of policies that draw at random.
    system
        A composition of policies that stands for a published system (see moesim systems).
    eviction
        Who loses a slot: a name of docs/policies.md, such as lfu, or module:Class.
    prefetch
        What is brought ahead: a name of docs/policies.md, such as gate_lookahead, or module:Class.
    cache_experts
        Capacity of the expert cache in experts.
    cache_bytes
        Capacity in bytes, with a unit: "6 GiB".
    cache_frac
        Capacity as a share of all experts: 0.25.
    set_
        Set any field of the scenario (cache.scope=global), or any figure of the machine (gpu.memory="32 GiB");
        may be repeated.
    replications
        Run so many times, each with other requests (other sequences, in a closed batch), and print the mean of each figure
        with its 95 % interval.
    store
        Keep the result of every replication in this folder, and take those that are there.
    jobs
        How many replications to run at once; by default as many as there are processor cores.
    json
        Print the summary as JSON to stdout, and nothing else.
    out
        Write summary.json, requests.csv, layers.csv, scenario.yaml, provenance.json and report.html, a page of it all, to
        this folder.
    html
        Write the page to this file; it needs no network to be read.
    no_html
        Leave the page out of the folder of --out.
    timeline
        Write timeline.json.gz to the folder of --out as well; https://ui.perfetto.dev opens it.
    overwrite
        Replace the results of an earlier run in that folder.
    """
    values = read_scenario(scenario) if scenario is not None else {}
    options: dict[str, object] = {
        "trace": trace,
        "model": model,
        "hardware": hardware,
        "pcie": pcie,
        "batch": batch,
        "sequences": sequences,
        "max_tokens": max_tokens,
        "warmup_steps": warmup_steps,
        "seed": seed,
        "system": system,
        "eviction": eviction,
        "prefetch": prefetch,
    }
    options = {key: value for key, value in options.items() if value is not None}
    sizes = {"experts": cache_experts, "bytes": cache_bytes, "frac": cache_frac}
    given = {key: value for key, value in sizes.items() if value is not None}
    if scenario is None:
        source = "options"
        _require_inputs(values | options, set_ or [])
    else:
        source = f"{scenario} with options" if options or given or set_ else str(scenario)
    values |= options
    if given:
        kept = {key: value for key, value in _mapping(values.get("cache"), source).items() if key not in sizes}
        values["cache"] = kept | given
    apply_settings(values, set_ or [])
    if timeline and out is None:
        raise InputError("--timeline", "has nowhere to go; name a folder with --out")
    if replications is not None and timeline:
        raise InputError("--timeline", "is of one run; leave out --replications")
    if html is not None:
        if no_html:
            raise InputError("--html", "asks for a page and --no-html for none; leave one of them out")
        check_html(html)
    for option, value in (("--jobs", jobs), ("--store", store)):
        if replications is None and value is not None:
            raise InputError(option, "is for --replications; this is one run")
    checked = build_scenario(values, source)
    options |= {f"cache_{key}": value for key, value in given.items()} | {"replications": replications}
    command = command_line("run", options, *([] if scenario is None else [str(scenario)]), settings=set_ or [])

    if replications is not None:
        several = ReplicationFolder(out, overwrite=overwrite) if out is not None else None
        with several or nullcontext():
            run_replications(
                values,
                source,
                replications=replications,
                jobs=jobs,
                store=store,
                json=json,
                folder=several,
                html=html,
                command=None if no_html else command,
            )
        return
    folder = ResultFolder(out, overwrite=overwrite) if out is not None else None
    with folder or nullcontext():
        with token_progress() as progress:
            result = simulate(
                checked,
                source=source,
                timeline_path=folder.staging / TIMELINE if folder is not None and timeline else None,
                progress=progress,
            )
        if folder is not None:
            folder.write(result, command=None if no_html else command)
    if html is not None:
        write_page(html, result, command=command)
    if json:
        sys.stdout.write(summary_json(result.summary))
        sys.stderr.writelines(f"moesim: warning: {warning}\n" for warning in warnings_of(result.summary))
        return
    console = Console()
    print_summary(console, result.summary, title_of(result.summary))
    if out is not None:
        console.print(f"results: {out}/", markup=False, highlight=False, soft_wrap=True)
    page = html if html is not None or out is None or no_html else out / REPORT
    if page is not None:
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    if timeline:
        console.print(f"open {TIMELINE} of it at https://ui.perfetto.dev", markup=False, highlight=False)


def _mapping(value: object, source: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(source, f"cache: {value!r} is not a mapping; write cache: {{frac: 0.25}}")
    return value


def _require_inputs(values: Mapping[str, object], settings: Sequence[str]) -> None:
    """Without a scenario file: raise InputError where the options that every run needs are not there."""
    set_keys = {setting.partition("=")[0].strip() for setting in settings}
    missing = [f"--{key}" for key in ("trace", "model", "hardware") if key not in values and key not in set_keys]
    if missing:
        raise InputError(
            "moesim run", f"needs a scenario file, or --trace, --model and --hardware; missing: {', '.join(missing)}"
        )
