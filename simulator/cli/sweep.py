"""`moesim sweep`."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console
from rich.table import Table

from hardware_profiles.errors import InputError
from simulator.cli.options import WholeNumber
from simulator.cli.progress import run_progress
from simulator.cli.settings import apply_settings
from simulator.compare.choose import replaced_in
from simulator.points.point import Point, PointResult
from simulator.points.run import run_points
from simulator.report import format_duration
from simulator.sweep.command import command_of
from simulator.sweep.estimate import estimate
from simulator.sweep.file import Sweep, read_sweep
from simulator.sweep.points import Drawn, sweep_points
from simulator.sweep.rows import Row, sweep_rows
from simulator.sweep.shard import parse_shard
from simulator.sweep.write import STORE, SweepFolder

_INPUT = Group.create_ordered("What to run")
_HOW = Group.create_ordered("How to run it")
_OUTPUT = Group.create_ordered("What comes out")
_MOST_REASONS = 5
_BEST = 5
_FASTEST = "throughput_tokens_per_s"


def sweep(
    sweep: Path,
    /,
    *,
    set_: Annotated[list[str] | None, Parameter(name="--set", group=_INPUT, negative="")] = None,
    dry_run: Annotated[bool, Parameter(group=_INPUT, negative="", show_default=False)] = False,
    jobs: Annotated[WholeNumber | None, Parameter(group=_HOW)] = None,
    shard: Annotated[str | None, Parameter(group=_HOW)] = None,
    store: Annotated[Path | None, Parameter(group=_HOW)] = None,
    ray: Annotated[str | None, Parameter(group=_HOW)] = None,
    out: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
) -> None:
    """Run a scenario at many points: each value of each axis with each other, or a sample.

    Parameters
    ----------
    sweep
        A YAML file with a scenario and axes; see docs/sweep.md.
    set_
        Set any field of the scenario before it is varied, or any figure of its machine; may be repeated.
    dry_run
        Say how many points there are and about how long they take, and run no more than a moment of three.
    jobs
        How many to run at once; by default as many as there are processor cores.
    shard
        Run one part of the points, such as 1/4; the table is written by a call without it, when all parts are stored.
    store
        Keep results in this folder; by default in the folder store of --out. Sweeps may share one.
    ray
        Run on a Ray cluster: its address, such as auto or 10.0.0.1:6379 (needs the extra ray).
    out
        Write points.csv, points.json, points.html (a page to explore them) and, if pyarrow is there, points.parquet to this
        folder.
    json
        Print points.json to stdout, and nothing else.
    overwrite
        Replace the table of another sweep in that folder.
    """
    if jobs is not None and jobs < 1:
        raise InputError("--jobs", f"{jobs} is not a number of runs at once; name 1 or more")
    part = parse_shard(shard)
    read = read_sweep(sweep)
    settings = set_ or []
    base = dict(read.base)
    apply_settings(base, settings)
    _warn_of_systems(read, base)
    drawn = sweep_points(read, base)
    processes = jobs or os.cpu_count() or 1
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
    if dry_run:
        _tell(console, read, drawn, drawn.points if part is None else part.of(drawn.points), processes)
        return
    if out is None and (store is None or part is None):
        raise InputError("--out", "is missing; name a folder for the table and for what is done so far")
    folder = SweepFolder(out, read, base, overwrite=overwrite) if out is not None else None
    kept = store or Path(str(out)) / STORE
    points = drawn.points if part is None else part.of(drawn.points)
    results = _run(points, store=kept, jobs=processes, ray=ray)
    for text in dict.fromkeys(result.traceback for result in results):
        sys.stderr.write(text)
    if part is not None or folder is None:
        _tell_counts(console, results)
        console.print(f"results: {kept}/; when all parts are there, the same without --shard writes the table")
        return
    rows = _rows(read, results, settings)
    text = folder.write(rows, read.paths)
    if json:
        sys.stdout.write(text)
    else:
        _tell_counts(console, results)
        _tell_best(console, read, rows)
        console.print(f"results: {out}/", soft_wrap=True)
    if all(result.summary is None for result in results):
        raise InputError(sweep, f"no point could be run: {'; '.join(_reasons(results))}")


def _warn_of_systems(read: Sweep, base: Mapping[str, object]) -> None:
    """Say what of a scenario stands in place of what each system on the axis would bring."""
    own = [name for name in replaced_in(base) if name not in ("system", *read.paths)]
    if "system" in read.paths and own:
        sys.stderr.write(
            f"moesim: warning: {', '.join(own)} of the scenario stands in place of what each system brings; take it out to "
            "leave it to them\n"
        )


def _run(points: Sequence[Point], *, store: Path, jobs: int, ray: str | None) -> list[PointResult]:
    """Run the points; Ctrl-C says what is kept."""

    def ended(result: PointResult) -> None:
        if bar is not None:
            bar(", ".join(f"{path} {value}" for path, value in result.point.labels.items()))

    try:
        with run_progress(len(points), "points") as bar:
            return run_points(points, store=store, jobs=jobs, progress=ended, ray=ray)
    except KeyboardInterrupt:
        sys.stderr.write(f"moesim: what is done is kept in {store}/; the same command goes on from there\n")
        raise


def _rows(read: Sweep, results: Sequence[PointResult], settings: Sequence[str]) -> list[Row]:
    try:
        return sweep_rows(results, metrics=read.metrics, command=lambda point: command_of(read, point, settings))
    except ValueError as error:
        raise InputError(read.path, f"metrics: {error}; the results are stored: correct it and run again") from None


def _tell(console: Console, read: Sweep, drawn: Drawn, points: Sequence[Point], jobs: int) -> None:
    """Say what a sweep would run."""
    excluded = drawn.num_drawn - len(drawn.points)
    more = f" ({excluded} of {drawn.num_drawn} excluded by constraints)" if excluded else ""
    console.print(f"{len(drawn.points)} points{more}")
    for axis in read.axes:
        what = f"{len(axis.levels)} values" if axis.span is None else f"{axis.span.at(0)} to {axis.span.at(1)}"
        console.print(f"  {', '.join(axis.paths)}: {what}")
    if len(points) < len(drawn.points):
        console.print(f"{len(points)} of them in this shard")
    found = estimate(points)
    if found.point_s is None:
        console.print("how long they take cannot be told: none of three could be run, or said how far it is")
        return
    total_s = found.point_s * len(points) / jobs
    span = f"{total_s / 60:.0f} min" if total_s >= 120 else f"{total_s:.0f} s"
    console.print(
        f"about {span} with {jobs} at once: a point takes {format_duration(found.point_s)}, as {found.num_run} of them say; "
        "those that are stored take no time"
    )


def _tell_counts(console: Console, results: Sequence[PointResult]) -> None:
    failed = sum(result.summary is None for result in results)
    reused = sum(result.is_reused for result in results)
    console.print(f"{len(results)} points: {len(results) - failed} ok, {reused} of them stored before; {failed} failed")
    for reason in _reasons(results):
        console.print(f"  failed: {reason}", style="red")


def _reasons(results: Sequence[PointResult]) -> list[str]:
    """Return the reasons of failures with their counts, the commonest first."""
    counts: dict[str, int] = {}
    for result in results:
        if result.summary is None:
            counts[result.reason] = counts.get(result.reason, 0) + 1
    common = sorted(counts, key=lambda reason: -counts[reason])
    listed = [f"{counts[reason]} x {reason}" for reason in common[:_MOST_REASONS]]
    return listed + ([f"and {len(common) - _MOST_REASONS} other reasons"] if len(common) > _MOST_REASONS else [])


def _tell_best(console: Console, read: Sweep, rows: Sequence[Row]) -> None:
    """Show the points of the highest throughput."""
    timed = [row for row in rows if isinstance(row.get(_FASTEST), float)]
    if not timed:
        return
    timed.sort(key=lambda row: (-float(str(row[_FASTEST])), int(str(row["point"]))))
    table = Table(box=None, title=f"The {min(_BEST, len(timed))} fastest", title_justify="left")
    for heading in ("point", *read.paths, "tokens/s"):
        table.add_column(heading, justify="right")
    for row in timed[:_BEST]:
        table.add_row(*(f"{row[name]}" for name in ("point", *read.paths)), f"{row[_FASTEST]:.4g}")
    console.print(table)
