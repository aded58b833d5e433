"""`moesim capture`: record what a live transformers model routes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from simulator.cli.options import WholeNumber
from traces.errors import TraceError


def capture(
    model: str,
    /,
    *,
    prompts: Path,
    out: Path,
    max_new_tokens: WholeNumber = 128,
    batch: WholeNumber = 1,
    dtype: str = "auto",
    device: str = "auto",
    lookahead: WholeNumber = 0,
    limit: WholeNumber | None = None,
    seed: WholeNumber = 0,
    teacher_forced: bool = False,
    gate_weights: bool = True,
    token_ids: bool = False,
    tokenizer: str | None = None,
    trust_remote_code: bool = False,
    model_name: str | None = None,
    licence: str = "unknown",
) -> None:
    """Run prompts through a transformers model and record which experts each token is routed to.

    Ctrl-C ends the capture early: what has been recorded is written, a valid shorter trace.

    Parameters
    ----------
    model
        A Hugging Face hub id, or the path of a local model.
    prompts
        A .txt file with a prompt per line, or a .jsonl file of objects with prompt, text or messages, and optionally
        category and max_new_tokens.
    out
        The trace: one file if it ends in .safetensors, else a directory of shards.
    max_new_tokens
        Tokens to generate per prompt, unless the prompt says otherwise.
    batch
        Prompts per forward pass.
    dtype
        auto (the checkpoint's own), float32, bfloat16 or float16.
    device
        auto (all CUDA devices, else the CPU), cpu, cuda or cuda:N.
    lookahead
        Record too what the routers of that many following layers pick from each layer's input.
    limit
        Run the first so many prompts only.
    seed
        Seed of sampling, where the model's generation config samples.
    teacher_forced
        Record a single pass over each text instead of generating.
    gate_weights
        Record gate weights.
    token_ids
        Record token ids too. They reveal the prompts and the answers.
    tokenizer
        Where the tokenizer is, if not with the model.
    trust_remote_code
        Run code that the model's repository brings.
    model_name
        What the trace calls the model; by default its hub id, or the name of its folder.
    licence
        Licence of the trace, kept in its metadata.
    """
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise TraceError("capture", f"needs {package}, which is not installed: pip install 'moesim[live]'")
    if limit is not None and limit < 1:
        raise TraceError("--limit", f"is {limit}; it should be 1 or more")

    from traces.capture.prompts import read_prompts

    chosen = read_prompts(prompts, limit=limit)

    from traces.capture.run import CaptureOptions, capture_prompts

    options = CaptureOptions(
        max_new_tokens=max_new_tokens,
        batch=batch,
        dtype=dtype,
        device=device,
        lookahead=lookahead,
        seed=seed,
        teacher_forced=teacher_forced,
        gate_weights=gate_weights,
        token_ids=token_ids,
        tokenizer=tokenizer,
        trust_remote_code=trust_remote_code,
        model_name=model_name,
        source=f"prompts of {prompts.name}",
        licence=licence,
    )
    try:
        with _progress(len(chosen)) as progress:
            summary = capture_prompts(model, chosen, out, options, progress)
    except KeyboardInterrupt:
        if out.exists():
            print(f"moesim: {out} holds what was recorded until now", file=sys.stderr)  # noqa: T201
        raise
    print(  # noqa: T201
        f"{out}: {summary.num_tokens} tokens of {summary.num_sequences} sequences, {summary.num_layers} MoE layers of "
        f"{summary.num_experts} experts, in {summary.duration_s:.1f} s"
    )


@contextmanager
def _progress(num_prompts: int) -> Iterator[Callable[[int], None]]:
    """Show progress and the time that is left on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("prompts", total=num_prompts)
        yield lambda done: bar.update(task, completed=done)
