"""`moesim trace info`: what a trace is, at a glance."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from traces.format import Trace, open_trace
from traces.statistics import locality, popularity
from traces.statistics.sample import front

_MEASURED_TOKENS = 1 << 17  # skew and overlap change little beyond, and a trace can be larger than memory


def info(
    file: Path,
    *,
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
    check: bool = True,
) -> None:
    """Describe a trace: shape, provenance, sequences, skew, overlap, bytes, digest.

    - `moesim trace info trace.safetensors`
    - `moesim trace info trace.safetensors --json --no-check`

    Parameters
    ----------
    file
        A trace file, or a directory of shards.
    json_output
        Write JSON, with units in the keys.
    check
        Read and check all of the content, not only its description.
    """
    trace = open_trace(file)
    if check:
        trace.check()
    described = _describe(trace) | {"content_checked": check}
    console = Console()
    if json_output:
        console.print_json(json.dumps(described))
    else:
        console.print(_table(trace, described))


def _describe(trace: Trace) -> dict[str, Any]:
    metadata = trace.metadata
    lengths = np.diff(trace.sequence_start)
    sample = front(trace, _MEASURED_TOKENS, ids_only=True)
    counts = popularity.use_counts(sample.expert_ids, trace.num_experts)
    overlap = locality.overlap_by_lag(sample.expert_ids, sample.sequence_start, (1,))[0].mean()
    return {
        "path": str(trace.path),
        "tokens": trace.num_tokens,
        "sequences": trace.num_sequences,
        "layers": trace.num_layers,
        "top_k": trace.top_k,
        "experts": trace.num_experts,
        "banks": trace.num_banks,
        "lookahead_distances": trace.lookahead_distances,
        "gate_weights": trace.has_gate_weights,
        "model": metadata.model,
        "gate": metadata.gate,
        "captured": metadata.captured,
        "source": metadata.source,
        "licence": metadata.licence,
        "categories": list(metadata.categories),
        "sequence_tokens": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
        },
        "prompt_tokens": int(trace.prompt_tokens.sum()),
        "measured_tokens": len(sample.expert_ids),
        "popularity_gini": float(popularity.gini(counts).mean()),
        "top_25_percent_share_frac": float(popularity.top_share(counts, 0.25).mean()),
        "adjacent_overlap_experts": None if np.isnan(overlap) else float(overlap),
        "chance_overlap_experts": locality.expected_overlap(trace.num_experts, trace.top_k),
        "bytes": trace.num_bytes(),
        "sha256": trace.digest(),
    }


def _table(trace: Trace, described: dict[str, Any]) -> Table:
    table = Table(show_header=False, title=str(trace.path), title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "shape",
        f"{trace.num_tokens:,} tokens (T), {trace.num_sequences:,} sequences (S), {trace.num_layers} layers (L), "
        f"top-{trace.top_k} (K) of {trace.num_experts} experts (E)",
    )
    if trace.num_banks != trace.num_layers:
        table.add_row("banks", f"{trace.num_banks}, shared by {trace.num_layers} routing rounds")
    table.add_row("lookahead", f"{trace.lookahead_distances} layers" if trace.lookahead_distances else "not recorded")
    table.add_row("gate weights", "recorded" if trace.has_gate_weights else "not recorded")
    for name in ("model", "gate", "captured", "source", "licence"):
        table.add_row(name, described[name])
    lengths = described["sequence_tokens"]
    table.add_row(
        "sequence", f"{lengths['min']:,} / {lengths['median']:,.0f} / {lengths['max']:,} tokens (min / median / max)"
    )
    prompt = described["prompt_tokens"]
    table.add_row("prompt", f"{prompt:,} of {trace.num_tokens:,} tokens")
    table.add_row(
        "popularity",
        f"Gini {described['popularity_gini']:.2f}; the top quarter of experts takes "
        f"{described['top_25_percent_share_frac']:.0%} of accesses",
    )
    overlap = described["adjacent_overlap_experts"]
    shared = "no two adjacent tokens" if overlap is None else f"adjacent tokens share {overlap:.2f} experts"
    table.add_row("overlap", f"{shared}; by chance {described['chance_overlap_experts']:.2f} of {trace.top_k}")
    if described["measured_tokens"] < trace.num_tokens:
        table.add_row("", f"(popularity and overlap of the first {described['measured_tokens']:,} tokens)")
    table.add_row("bytes", f"{described['bytes']:,}")
    table.add_row("sha256", described["sha256"])
    table.add_row("content", "checked" if described["content_checked"] else "not checked")
    return table
