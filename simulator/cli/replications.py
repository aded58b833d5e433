"""`moesim run --replications`: the same scenario several times, with intervals in place of one run's figures."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from hardware_profiles.errors import InputError
from simulator.cli.progress import run_progress
from simulator.html_file import write_html
from simulator.replicate.facts import replication_facts
from simulator.replicate.run import replicate
from simulator.replicate.table import render_replications
from simulator.replicate.write import ReplicationFolder
from simulator.results import summary_json


def run_replications(
    values: Mapping[str, object],
    source: str,
    *,
    replications: int,
    jobs: int | None,
    store: Path | None,
    json: bool,
    folder: ReplicationFolder | None,
    html: Path | None,
    command: str | None,
) -> None:
    """Run them, and print or write what they say; no page to the folder without a `command` on it. Raises InputError."""
    with run_progress(replications, "replications") as done:
        found = replicate(dict(values), source, replications, jobs=jobs_or_cores(jobs), store=store, done=done)
    facts = replication_facts(found, source, values)
    page = None
    if command is not None and (folder is not None or html is not None):
        from simulator.replicate.page import replication_page

        page = replication_page(facts, command)
    if folder is not None:
        folder.write(facts, page)
    if html is not None and page is not None:
        write_html(html, page)
    if json:
        sys.stdout.write(summary_json(facts))
        return
    console = Console(markup=False, highlight=False)
    console.print(render_replications(facts))
    if folder is not None:
        console.print(f"results: {folder.path}/", soft_wrap=True)
    if html is not None:
        console.print(f"page: {html}", soft_wrap=True)


def jobs_or_cores(jobs: int | None) -> int:
    """Return how many runs go at once: as asked, or one for each processor core. Raises InputError."""
    if jobs is not None and jobs < 1:
        raise InputError("--jobs", f"{jobs} is not a number of runs at once; name 1 or more")
    return jobs or os.cpu_count() or 1
