"""`moesim mrc`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from rich.console import Console

from hardware_profiles.errors import InputError
from simulator.cli.options import WholeNumber
from simulator.cli.progress import work_progress
from simulator.mrc.compiled import is_compiled
from simulator.mrc.curves import BELADY, LRU, Question, measure
from simulator.mrc.report import facts_csv, facts_json, render
from traces.format import Trace, open_trace, write_text_atomically

_INPUT = Group.create_ordered("What to measure")
_OUTPUT = Group.create_ordered("What comes out")
_WIDTH_WITHOUT_TERMINAL = 200
_MANY_ACCESSES = 1_000_000


def mrc(
    trace: Path,
    /,
    *,
    policies: Annotated[str, Parameter(group=_INPUT)] = BELADY,
    sizes: Annotated[str | None, Parameter(group=_INPUT)] = None,
    scope: Annotated[Literal["per_layer", "global", "both"], Parameter(group=_INPUT)] = "both",
    layer: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    sequences: Annotated[WholeNumber | None, Parameter(group=_INPUT)] = None,
    batch: Annotated[WholeNumber, Parameter(group=_INPUT)] = 1,
    model: Annotated[str | None, Parameter(group=_INPUT)] = None,
    quantisation: Annotated[str | None, Parameter(group=_INPUT)] = None,
    seed: Annotated[WholeNumber, Parameter(group=_INPUT)] = 0,
    json: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    csv: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    html: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
) -> None:
    """Measure how often an expert cache of each size misses, without a clock: LRU at every size, others at some.

    Parameters
    ----------
    trace
        A routing trace: a .safetensors file or a directory of shards.
    policies
        Eviction policies beside LRU, divided by commas: names of docs/policies.md or module:Class; none for LRU alone.
    sizes
        Cache sizes for them and for the table, divided by commas: 96 experts, 25% of all, or "6 GiB" with --model.
    scope
        Slots of its own for each layer (per_layer), all layers in one cache (global), or both.
    layer
        The bank of this layer alone; sizes are then of its experts.
    sequences
        How many sequences of the trace to go through, from the first on.
    batch
        Sequences that decode together, each replaced by the next as it ends.
    model
        Whose experts' bytes to show: a model that ships, a YAML spec, or a Hugging Face config.json.
    quantisation
        Format of those experts, such as mxfp4 or q4_k.
    seed
        Seed of policies that draw at random.
    json
        Print all curves as JSON to stdout, and nothing else.
    csv
        Write a row for each policy, scope or layer, and size to this file.
    html
        Write a page with plots to this file; it needs no network to be read.
    """
    opened = open_trace(trace)
    chosen = _sequences(opened, sequences)
    if batch < 1:
        raise InputError("--batch", f"{batch} is not a number of sequences; name 1 or more")
    if layer is not None and not 0 <= layer < opened.num_layers:
        raise InputError("--layer", f"{layer} is not a MoE layer of {trace}; it has 0 to {opened.num_layers - 1}")
    if layer is not None and scope == "both":
        scope = "per_layer"
    bytes_each = _bytes_each(opened, model, quantisation)
    question = Question(
        trace=opened,
        sequences=chosen,
        batch=batch,
        scope=scope,
        layer=layer,
        policies=[name for name in map(str.strip, policies.split(",")) if name not in ("", "none", LRU)],
        sizes=sizes,
        bytes_each=bytes_each,
        seed=seed,
    )
    with work_progress() as work:
        found = measure(question, work)
    num_tokens = int((opened.sequence_start[1:] - opened.sequence_start[:-1])[list(chosen)].sum())
    notes = []
    if not is_compiled() and found[0].accesses > _MANY_ACCESSES:
        notes.append("plain Python counted this; the same integers come several times faster with moesim[fast] (numba)")
    about: dict[str, object] = {
        "trace": str(trace),
        "model_of_trace": opened.metadata.model,
        "num_sequences": len(chosen),
        "num_tokens": num_tokens,
        "num_layers": opened.num_layers,
        "num_banks": opened.num_banks,
        "num_experts_per_bank": opened.num_experts,
        "top_k": opened.top_k,
        "batch": batch,
        "layer": layer,
        "expert_bytes": bytes_each,
        "seed": seed,
        "notes": notes,
    }
    if csv is not None:
        _write(csv, facts_csv(found, bytes_each))
    if html is not None:
        from simulator.mrc.page import curves_page

        _write(html, curves_page(about, found, bytes_each))
    if json:
        sys.stdout.write(facts_json(about, found))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)
    console.print(render(about, found, bytes_each))
    for name, path in (("rows", csv), ("page", html)):
        if path is not None:
            console.print(f"{name}: {path}", soft_wrap=True)


def _sequences(trace: Trace, count: int | None) -> range:
    if count is None:
        return range(trace.num_sequences)
    if not 1 <= count <= trace.num_sequences:
        raise InputError(
            "--sequences", f"{count} asked for, but {trace.path} has {trace.num_sequences}; name 1 to that many"
        )
    return range(count)


def _bytes_each(trace: Trace, name: str | None, quantisation: str | None) -> int | None:
    """Return the bytes of one expert; None where no model is named."""
    from simulator.model.footprint import expert_bytes
    from simulator.model.load import load_model
    from simulator.model.quantisation import parse_quantisation
    from simulator.model.spec import moe_layers

    if name is None:
        if quantisation is not None:
            raise InputError("--quantisation", "says how the experts of a model are stored; name the --model")
        return None
    model = load_model(name)
    trace.require_model(
        num_layers=len(moe_layers(model)), num_experts=model.num_experts, top_k=model.top_k, model=model.name
    )
    try:
        chosen = None if quantisation is None else parse_quantisation(quantisation)
    except ValueError as error:
        raise InputError("--quantisation", str(error)) from None
    return expert_bytes(model, chosen)


def _write(path: Path, text: str) -> None:
    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise InputError(path, f"cannot be written: {error.strerror}") from None
