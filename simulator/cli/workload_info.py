"""`moesim workload info`: what a workload is like, at a glance."""

import json as json_text
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import parse_yaml, read_yaml
from simulator.cli.options import WholeNumber
from simulator.durations import format_duration
from simulator.workload.arrivals import Arrival
from simulator.workload.choice import BuiltWorkload, ClosedLoopChoice, WorkloadChoice, build_workload, read_choice
from simulator.workload.recorded import RecordedRequests
from simulator.workload.survey import QUANTILES, WINDOWS_S, Survey
from traces.format import write_text_atomically

_LIMIT = 100_000


def info(
    workload: str,
    /,
    *,
    seed: WholeNumber = 0,
    requests: WholeNumber | None = None,
    format_name: Annotated[str | None, Parameter(name="--format")] = None,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    page: Path | None = None,
) -> None:
    """Describe a request trace or a workload: rate, bursts, lengths, classes.

    Parameters
    ----------
    workload
        A request trace, a YAML file with a workload (or a scenario that has one), or a workload itself, in braces.
    seed
        Same seed, same requests.
    requests
        Look at the first so many; by default all of a file, and 100,000 of what may never end.
    format_name
        Of a request trace: azure, mooncake, burstgpt, vidur or sharegpt; told by its first line if left out.
    json
        Write JSON, with units in the keys.
    page
        Write a page with plots there, which needs no network to be read.
    """
    if seed < 0:
        raise InputError("--seed", f"is {seed}; it should be 0 or more")
    if requests is not None and requests < 1:
        raise InputError("--requests", f"is {requests}; it should be 1 or more")
    choice, source, folder = _found(workload, format_name)
    built = build_workload(choice, source, folder)
    limit = requests or (None if _ends(choice) else _LIMIT)
    survey, notes, has_times = _surveyed(built, choice, seed, limit)
    if not survey.num_requests:
        raise InputError(source, "has no requests in it; look at start, stop and keep_frac")
    described = {"source": source, "seed": seed, "is_closed": built.is_closed, **survey.summary()}
    if not has_times:
        timed = ("span_s", "rate_", "gap_", "dispersion", "peak_", "prompt_tokens_per", "output_tokens_per")
        described = {key: None if key.startswith(timed) else value for key, value in described.items()}
    described["notes"] = [*notes, *built.notes()]
    if page is not None:
        _write_page(page, source, survey, described, has_times=has_times)
    console = Console(markup=False, highlight=False)
    if json:
        print(json_text.dumps(described, indent=2, allow_nan=False))  # noqa: T201
        return
    console.print(_table(source, described))
    if page is not None:
        console.print(f"page: {page}", soft_wrap=True)


def _found(workload: str, format_name: str | None) -> tuple[WorkloadChoice, str, Path]:
    """Return what was named, how to call it, and the folder that its files are taken from. Raises InputError."""
    path = Path(workload)
    if workload.lstrip().startswith("{"):
        values, source, folder = parse_yaml(workload, "WORKLOAD"), "WORKLOAD", Path()
    elif path.suffix in (".yaml", ".yml"):
        values, source, folder = read_yaml(path), workload, path.parent
    else:
        return read_choice({"file": {"file": workload, "format": format_name}}, workload), workload, Path()
    if format_name is not None:
        raise InputError("--format", "goes with a request trace; a workload names it as file: {file: ..., format: ...}")
    if isinstance(values, Mapping) and "workload" in values:
        values = values["workload"]
    if not isinstance(values, Mapping):
        raise InputError(source, "should hold a workload: a mapping with one of file, arrivals and merge")
    return read_choice(values, source), source, folder


def _ends(choice: WorkloadChoice) -> bool:
    """Tell whether a workload ends by itself."""
    if isinstance(choice.arrivals, ClosedLoopChoice):
        return choice.requests is not None
    if choice.merge is not None:
        return choice.requests is not None or choice.stop is not None or all(map(_ends, choice.merge))
    return choice.file is not None or choice.requests is not None or choice.stop is not None


def _surveyed(
    built: BuiltWorkload, choice: WorkloadChoice, seed: int, limit: int | None
) -> tuple[Survey, list[str], bool]:
    """Return the counts, what is to be said of them, and whether their times mean anything. Raises InputError."""
    survey, notes, has_times = Survey(), [], True
    arrivals: Iterator[Arrival]
    if built.is_closed:
        arrivals, has_times = _answered_at_once(built, seed), False
        notes.append("a closed loop: when requests arrive depends on the service, so there are lengths alone")
    elif choice == WorkloadChoice(file=choice.file) and not built.files[0].has_times():
        arrivals, has_times = _without_times(built.files[0]), False
        notes.append("the file has no times of arrival, so there are lengths alone: name it under lengths")
    else:
        arrivals = built.open.arrivals(seed)
    for arrival in islice(arrivals, limit):
        survey.add(arrival)
    if limit is not None and survey.num_requests == limit and next(arrivals, None) is not None:
        notes.append(f"these are the first {limit:,} requests; there are more (--requests)")
    return survey, notes, has_times


def _answered_at_once(built: BuiltWorkload, seed: int) -> Iterator[Arrival]:
    """Yield a closed loop's requests in the order in which they come if no answer takes time, all at time 0."""
    waiting = deque(built.closed.first(seed))
    while waiting:
        arrival = waiting.popleft()
        yield replace(arrival, arrival_ns=0)
        following = built.closed.after(arrival, arrival.arrival_ns)
        if following is not None:
            waiting.append(following)


def _without_times(recorded: RecordedRequests) -> Iterator[Arrival]:
    """Yield the requests of a file of lengths, all at time 0."""
    for prompt_tokens, output_tokens in recorded.lengths():
        yield Arrival(arrival_ns=0, prompt_tokens=prompt_tokens, output_tokens=output_tokens)


def _write_page(page: Path, source: str, survey: Survey, described: Mapping[str, object], *, has_times: bool) -> None:
    from simulator.workload.page import workload_page

    lines = [f"{name}: {text}" if name else text for name, text in _rows(described)]
    title = "A workload" if source == "WORKLOAD" else Path(source).name
    try:
        write_text_atomically(page, workload_page(title, survey, lines, has_times=has_times))
    except OSError as error:
        raise InputError(f"--page {page}", f"cannot be written: {error.strerror}") from None


def _table(source: str, described: Mapping[str, object]) -> Table:
    table = Table(show_header=False, title=source, title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(described):
        table.add_row(name, text)
    return table


def _rows(described: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield what is to be read: a heading and its text."""
    yield "requests", f"{described['requests']:,}"
    if described["span_s"] is not None:
        yield "time", f"{format_duration(described['span_s'])} from the first to the last"
        yield "rate", f"{_number(described['rate_requests_per_s'])} requests/s"
        yield "gaps", f"coefficient of variation {_number(described['gap_cv'])} (Poisson: 1)"
        peaks, dispersion = described["peak_requests"], described["dispersion"]
        assert isinstance(peaks, Mapping)
        assert isinstance(dispersion, Mapping)
        for index, seconds in enumerate(WINDOWS_S):
            key = f"{seconds}_s"
            text = f"{seconds} s: at most {peaks[key]:,}; index of dispersion {_number(dispersion[key])} (Poisson: 1)"
            yield "" if index else "arrivals in", text
    for name in ("prompt_tokens", "output_tokens"):
        of = described[name]
        assert isinstance(of, Mapping)
        quantiles = " / ".join(_number(of[key]) for key in ("min", *QUANTILES, "max"))
        yield (
            name.replace("_tokens", ""),
            f"mean {_number(of['mean'])} tokens; {quantiles} (min / p50 / p90 / p99 / max)",
        )
    yield "", f"correlation of the two lengths {_number(described['length_correlation'])}"
    if described["span_s"] is not None:
        rates = (described["prompt_tokens_per_s"], described["output_tokens_per_s"])
        yield "tokens", "{} prompt/s, {} output/s".format(*map(_number, rates))
    for name in ("classes", "categories"):
        counts = described[name]
        assert isinstance(counts, Mapping)
        if counts and list(counts) != ["default"]:
            yield name, ", ".join(f"{key} {count:,}" for key, count in counts.items())
    notes = described["notes"]
    assert isinstance(notes, list)
    for index, note in enumerate(notes):
        yield "" if index else "note", note


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
