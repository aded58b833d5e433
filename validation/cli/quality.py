"""`moesim quality`: measure what lossy policies cost a model, in perplexity, and fit it to what the simulator counts."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from math import exp
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hardware_profiles.errors import InputError
from simulator.cli.options import WholeNumber
from traces.format import write_text_atomically


def quality(
    model: str,
    /,
    *,
    texts: Path,
    learn_from: Path | None = None,
    out: Path | None = None,
    results: Path | None = None,
    segments: WholeNumber = 20,
    segment_tokens: WholeNumber = 256,
    learn_segments: WholeNumber = 20,
    side_by_side: WholeNumber = 4,
    device: str = "cpu",
    dtype: str = "float32",
    json_: Annotated[bool, Parameter(name="--json", negative="", show_default=False)] = False,
) -> None:
    """Measure the perplexity of a model under lossy policies at several cache sizes.

    Configurations are kept as they end: a call that was interrupted goes on where it stopped.

    Parameters
    ----------
    model
        A Hugging Face hub id, or the path of a local model.
    texts
        Texts to evaluate, which the model has not been trained on: a .txt file with a text per line, or a .jsonl file of
        objects with text.
    learn_from
        Other texts, for policies that learn from recorded routing; by default the first third of the texts.
    out
        The folder of traces and of what is kept; results/quality/NAME by default.
    results
        Write the result to this file as well.
    segments
        How many segments of text are evaluated.
    segment_tokens
        Tokens of each.
    learn_segments
        How many segments are learned from.
    side_by_side
        Segments that go through the model at a time; each has a cache of its own.
    device
        cpu or cuda:N.
    dtype
        float32, bfloat16 or float16.
    json_
        Print the result as JSON to stdout, and nothing else.
    """
    for package in ("torch", "transformers", "scipy"):
        if find_spec(package) is None:
            raise InputError("quality", f"needs {package}, which is not installed: pip install 'moesim[live]'")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError("--dtype", f"is {dtype!r}; it should be float32, bfloat16 or float16")
    for option, value in (("--side-by-side", side_by_side), ("--learn-segments", learn_segments)):
        if value < 1:
            raise InputError(option, f"is {value}; it should be 1 or more")

    from traces.capture.prompts import read_prompts
    from validation.quality.configurations import default_configurations
    from validation.quality.measure import measure
    from validation.quality.result import result
    from validation.quality.texts import read_texts
    from validation.runtime.device import open_device

    name = model_name(model)
    folder = out if out is not None else Path("results", "quality", name)
    cut = read_texts(
        model,
        texts,
        learn_from,
        segment_tokens=segment_tokens,
        segments=segments,
        learn_segments=learn_segments,
    )
    with _progress() as progress:
        measured = measure(
            model,
            cut,
            default_configurations(),
            folder,
            open_device(device),
            dtype=dtype,
            side_by_side=side_by_side,
            progress=progress,
        )
    sources = Counter(prompt.category or "not stated" for prompt in read_prompts(texts))
    values = result(measured, cut, model_name=name, dtype=dtype, sources=sources)
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    for path in [folder / "quality.json", *([] if results is None else [results])]:
        _write(path, text)
    if json_:
        sys.stdout.write(text)
        return
    console = Console()
    console.print(_table(values))
    console.print(f"result: {folder}/quality.json", markup=False, highlight=False, soft_wrap=True)


def model_name(model: str) -> str:
    """Return what a model is called in a result: its hub id, or the name that its folder's place gives it."""
    path = Path(model).resolve()
    if not path.is_dir():
        return model.replace("/", "--")
    from traces.nano import MODEL

    return "moesim-nano" if path == MODEL.resolve() else path.name


def _table(values: Mapping[str, object]) -> Table:
    """Lay out one line for each configuration."""
    table = Table(title="Perplexity over that of the unoffloaded model", title_justify="left")
    table.add_column("configuration")
    for heading in ("kind", "mass", "ratio", "estimate"):
        table.add_column(heading, justify="right")
    rows = values["configurations"]
    assert isinstance(rows, Sequence)
    for row in rows:
        simulated = row["simulated"]
        mass = sum(simulated[kind] for kind in ("dropped", "substituted", "low_precision", "deferred"))
        ratio, estimated = (f"{value:.4f}" for value in (row["perplexity_ratio"], exp(row["estimate"]["mid"])))
        table.add_row(row["name"], row["kind"], f"{mass:.1%}", ratio, estimated)
    return table


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, text)
    except OSError as error:
        raise InputError(path, f"cannot be written: {error.strerror}; make room, or name another place") from None


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None] | None]:
    """Show the configurations done and the time that is left on stderr; yields None where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("configurations"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=console, transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task("", total=None)

        def report(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        yield report
