"""`moesim validate`: replay a suite on a device, simulate it, and say how far apart the two are."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from traces.format import write_text_atomically
from validation.cli.quantities import parse_time
from validation.compare.page import report_page
from validation.compare.report import build_report
from validation.compare.simulate import CalibratedProfile, read_profile
from validation.compare.simulations import profile_of
from validation.compare.suite import Suite, read_suite
from validation.compare.tables import summary_rows
from validation.compare.validate import TRACES, Progress
from validation.compare.validate import validate as validate_suite


def validate(
    suite: Path,
    /,
    *,
    profile: Annotated[list[str], Parameter(negative="")],
    device: str = "cpu",
    out: Path | None = None,
    model: Annotated[list[str] | None, Parameter(negative="")] = None,
    results: Path | None = None,
    threads: int = 1,
    patience: str = "0 s",
    timelines: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json_: Annotated[bool, Parameter(name="--json", negative="", show_default=False)] = False,
) -> None:
    """Replay a suite's configurations on a device, simulate them, and report the error of each.

    The error is that of the steps that ran while the machine was as fast as when the profile was measured; beside it stands
    that of all steps. Configurations with few such steps are replayed more often, up to twice as often as the suite says.

    Replays are kept as they end: a call that was interrupted goes on where it stopped, and one that finds all of them
    writes the report afresh.

    Parameters
    ----------
    suite
        A YAML file, such as validation/suites/cpu-quick.yaml.
    profile
        A profile that moesim calibrate has written on this device: PROFILE.yaml for all models, or MODEL=PROFILE.yaml
        for one; may be repeated. With several, each is held against the other models as well.
    device
        cpu or cuda:N.
    out
        The folder of replays, traces, timelines, report.json and report.html; results/validation/NAME by default.
    model
        Run the configurations of this model of the suite alone; may be repeated.
    results
        Write the report to this file as well, such as validation/results/NAME.json.
    threads
        Threads that compute on the device cpu; as many as when the profile was measured.
    patience
        How long to wait, in all, while the machine is slower or faster than when its profile was measured: for shared
        machines, such as "20 min".
    timelines
        Write the timelines of all configurations, not only of the one of each model with the largest error.
    json_
        Print the report as JSON to stdout, and nothing else.
    """
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise InputError("validate", f"needs {package}, which is not installed: pip install 'moesim[live]'")
    patience_s = parse_time("--patience", patience)
    folder = out if out is not None else Path("results", "validation", suite.stem)
    chosen = _of_models(read_suite(suite, trace_folder=folder / TRACES), model)

    from validation.compare.backend import TorchBackend, device_name_of
    from validation.runtime.cores import fastest_core_ns
    from validation.runtime.patience import Patience

    name = device_name_of(device)
    profiles = [_profile(text, chosen, name) for text in profile]
    backend = TorchBackend(device, {key: profile_of(key, profiles) for key in chosen.models}, num_threads=threads)
    with _progress() as progress:
        compared = validate_suite(
            chosen,
            profiles,
            backend,
            folder,
            all_timelines=timelines,
            patience=Patience(patience_s, probe_ns=fastest_core_ns),
            progress=progress,
        )
    report = build_report(chosen, compared, profiles, device=device, device_name=name)
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    for path in [folder / "report.json", *([] if results is None else [results])]:
        _write(path, text)
    _write(folder / "report.html", report_page(report))
    if json_:
        sys.stdout.write(text)
        return
    console = Console()
    for table in _tables(report):
        console.print(table)
    console.print(f"report: {folder}/report.html", markup=False, highlight=False, soft_wrap=True)


def _of_models(suite: Suite, names: Sequence[str] | None) -> Suite:
    """Return the suite with the models of these names alone. Raises InputError for one that it lacks."""
    if names is None:
        return suite
    for name in names:
        if name not in suite.models:
            raise InputError("--model", f"{name!r} is not among the suite's models; {one_of(name, list(suite.models))}")
    return replace(
        suite,
        models={name: model for name, model in suite.models.items() if name in names},
        configurations=[item for item in suite.configurations if item.model_name in names],
    )


def _profile(text: str, suite: Suite, device_name: str) -> CalibratedProfile:
    """Read MODEL=PROFILE.yaml or PROFILE.yaml. The model may be one that --model leaves out, or another altogether."""
    model, equals, path = text.partition("=")
    if equals and not (model and path):
        raise InputError(
            f"--profile {text}", f"should read MODEL=PROFILE.yaml, such as {next(iter(suite.models))}=a.yaml"
        )
    return read_profile(Path(path or text), measured_on=model if equals else None, device_name=device_name)


def _tables(report: dict[str, object]) -> Iterator[Table]:
    """Yield the errors at the calibrated speed, and of all steps, each narrow enough for a terminal."""
    summary = report["summary"]
    assert isinstance(summary, dict)
    rows = summary_rows(summary)
    for title, is_of_all in (
        ("Error of the steps at the calibrated speed, simulated against measured", False),
        ("Error of TPOT over all steps, simulated against measured", True),
    ):
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for heading in ("configs", *([] if is_of_all else ["share"]), "median", "p90", "max", "mean", "in spread"):
            table.add_column(heading, justify="right")
        if is_of_all:
            table.add_column("counts equal", justify="right")
            table.add_column("within 1 point", justify="right")
        for name, num_configurations, *cells in rows:
            table.add_row(name, num_configurations, *(cells[6:] if is_of_all else cells[:6]))
        yield table


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, text)
    except OSError as error:
        raise InputError(path, f"cannot be written: {error.strerror}; make room, or name another place") from None


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show the replays done and the time that is left on stderr; yields None where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("replays"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task("", total=None)

        def report(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        yield report
