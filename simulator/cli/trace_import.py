"""`moesim trace import`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from simulator.cli.options import WholeNumber
from traces.errors import TraceError


def import_(
    *files: Path,
    out: Path,
    format: str | None = None,
    model: str | None = None,
    num_experts: WholeNumber | None = None,
    num_layers: WholeNumber | None = None,
    top_k: WholeNumber | None = None,
    map: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    prompt_tokens: str | None = None,
    skip_layer: Annotated[tuple[int, ...], Parameter(negative="")] = (),
    gate: str | None = None,
    source: str = "unknown",
    licence: str = "unknown",
    captured: str | None = None,
    max_gib: float = 16.0,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make a trace from routing that others recorded.

    Parameters
    ----------
    files
        The files to import, in order: npz, JSON lines, CSV, or what an engine wrote (see --format).
    out
        The trace to write, by convention *.safetensors.
    format
        What wrote the files, where the name does not tell.
    model
        The model that was recorded.
    num_experts
        Experts of one layer; required unless the file says it.
    num_layers
        Layers, where the file holds a flat list of ids.
    top_k
        Experts per token and layer, where the file holds a flat list of ids.
    map
        TENSOR=FIELD: the name that a tensor of the trace, or a column, has in the file. Repeatable.
    prompt_tokens
        Leading tokens of each sequence that are the prompt: none (decode only), all (prefill only), a number, or the
        field that says it.
    skip_layer
        A layer of the file that holds no routing (a dense one). Repeatable.
    gate
        How weights come from logits: softmax, softmax_top_k, sigmoid, ...
    source
        Whose data it is: a URL, a paper.
    licence
        The licence of the data.
    captured
        How, when and on what device it was captured.
    max_gib
        Refuse files that would take more memory than this.
    overwrite
        Replace a trace that is there.
    """
    from rich.console import Console
    from rich.markup import escape

    from traces.importing import ImportOptions, import_trace

    fields = _fields(map)
    prompt: str | int | None = prompt_tokens
    if prompt_tokens is not None and prompt_tokens not in ("none", "all"):
        prompt = None
        if prompt_tokens.isascii() and prompt_tokens.isdigit():
            prompt = int(prompt_tokens)
        elif fields.setdefault("prompt_tokens", prompt_tokens) != prompt_tokens:
            raise TraceError("--prompt-tokens", f"names {prompt_tokens}, but --map {fields['prompt_tokens']}; give one")
    if not 0 < max_gib < 1 << 20:
        raise TraceError("--max-gib", f"{max_gib} should be more than 0")
    with _progress() as progress:
        report = import_trace(
            files,
            out,
            ImportOptions(
                model=model,
                num_experts=num_experts,
                num_layers=num_layers,
                top_k=top_k,
                fields=fields,
                prompt_tokens=prompt,  # type: ignore[arg-type]
                skip_layers=frozenset(skip_layer),
                gate=gate,
                source=source,
                licence=licence,
                captured=captured,
                max_bytes=int(max_gib * (1 << 30)),
                progress=progress,
            ),
            format=format,
            overwrite=overwrite,
        )
    trace = report.trace
    console = Console(soft_wrap=True, highlight=False)
    for note in report.notes:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[yellow]note:[/] {escape(note)}")
    console.print(
        f"[bold]{escape(str(out))}[/]: {trace.num_tokens:,} tokens in {trace.num_sequences:,} sequences of "
        f"{escape(trace.metadata.model)} ({trace.num_layers} MoE layers, {trace.num_experts} experts, "
        f"top-{trace.top_k}), {int(trace.prompt_tokens.sum()):,} of them prompt; {trace.num_bytes():,} bytes; "
        f"read as {report.format}"
    )


def _fields(pairs: tuple[str, ...]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for pair in pairs:
        tensor, equals, name = pair.partition("=")
        if not equals or not tensor or not name:
            raise TraceError("--map", f"{pair!r} should be TENSOR=FIELD, such as context_start=prompt_len")
        if tensor in fields:
            raise TraceError("--map", f"maps {tensor} twice, to {fields[tensor]} and to {name}")
        fields[tensor] = name
    return fields


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Show progress and the time left on stderr, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
