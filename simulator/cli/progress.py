"""Progress of long work: on stderr, and only on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from simulator.run import Progress as ReportTokens

_TOKENS_PER_UPDATE = 64


@contextmanager
def token_progress() -> Iterator[ReportTokens | None]:
    """Show a bar of output tokens with an ETA; yields None where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tokens"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("simulating", total=None)

        def report(done: int, total: int) -> None:
            if done % _TOKENS_PER_UPDATE == 0 or done == total:
                bar.update(task, completed=done, total=total)

        yield report


@contextmanager
def run_progress(total: int, what: str = "systems") -> Iterator[Callable[[str], None] | None]:
    """Show a bar of runs of `what` with an ETA, to be told the name of each as it ends; None where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("simulating", total=total)

        def report(name: str) -> None:
            bar.update(task, advance=1, description=f"done: {escape(name)}")

        yield report


@contextmanager
def work_progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Show a bar for each piece of work, to be told (its name, units done since, units in all); None without a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], advance=done)

        yield report


@contextmanager
def probe_progress() -> Iterator[Callable[[str], None] | None]:
    """Show how many probes of a search are done, to be told of each as it ends; None where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("probe {task.completed}"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(told: str) -> None:
            bar.update(task, advance=1, description=told)

        yield report
