"""`moesim trace stats`: the statistics of a trace as a table, JSON or a page."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.cli.options import WholeNumber
from traces.errors import TraceError
from traces.format import open_trace, write_text_atomically
from traces.statistics.sample import front
from traces.statistics.summary import Json, at, describe

_ROWS = (
    ("popularity", "Gini coefficient (0 even, 1 one expert)", "popularity.gini.mean", "{:.2f}"),
    ("", "normalised entropy (1 even)", "popularity.normalised_entropy.mean", "{:.3f}"),
    ("", "share of the top quarter of experts", "popularity.top_25_percent_share_frac.mean", "{:.1%}"),
    ("locality", "experts shared by adjacent tokens", "locality.adjacent_overlap_experts.mean", "{:.2f}"),
    ("", "... by independent tokens of this popularity", "locality.independent_overlap_experts.mean", "{:.2f}"),
    ("", "... by chance, K * K / E", "locality.chance_overlap_experts", "{:.2f}"),
    ("", "accesses that are an expert's first in its sequence", "locality.first_use_in_sequence_frac", "{:.1%}"),
    ("affinity", "mutual information of adjacent layers, bits", "affinity.mutual_information_bits.mean", "{:.3f}"),
    ("", "chance of the likeliest next expert", "affinity.likeliest_next_frac.mean", "{:.1%}"),
    ("co-activation", "lift of an expert's best partner", "coactivation.best_partner_lift.mean", "{:.2f}"),
    ("gate", "effective experts of a set's weight", "gate.effective_experts.mean", "{:.2f}"),
    ("drift", "distance between halves (0 to 1)", "drift.between_halves_distance.mean", "{:.3f}"),
    ("", "... between shuffled halves", "drift.between_shuffled_halves_distance.mean", "{:.3f}"),
    ("", "... between successive sequences", "drift.between_sequences_distance.mean", "{:.3f}"),
    ("templates", "leading tokens that neighbours share, median", "templates.shared_leading_tokens_median", "{:.0f}"),
)
_CURVES = (
    ("overlap by lag", "lag, tokens", "locality.lag_tokens", "locality.overlap_experts", "{:.2f}"),
    ("union of a window", "window, tokens", "windows.tokens", "windows.union_experts", "{:.1f}"),
    ("union of a batch", "batch, sequences", "batches.sequences", "batches.union_experts", "{:.1f}"),
    ("reused within", "tokens", "locality.reuse_tokens", "locality.reused_within_frac", "{:.0%}"),
    ("lookahead recall", "distance, layers", "lookahead.distance_layers", "lookahead.recall_frac", "{:.0%}"),
)


def stats(
    file: Path,
    *,
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
    html: Path | None = None,
    tokens: WholeNumber | None = None,
) -> None:
    """Measure a trace: popularity, locality, unions, LRU hit rates, affinity, gate weights, drift.

    - `moesim trace stats trace.safetensors`
    - `moesim trace stats trace.safetensors --json --tokens 10000`
    - `moesim trace stats trace.safetensors --html trace.html`

    Parameters
    ----------
    file
        A trace file, or a directory of shards.
    json_output
        Write JSON, with units in the keys and every layer's values.
    html
        Write a page with plots there, which needs no network to be read.
    tokens
        Measure the first so many tokens; all if left out.
    """
    if tokens is not None and tokens < 1:
        raise TraceError("--tokens", f"is {tokens}; it should be 1 or more")
    trace = open_trace(file)
    sequences = front(trace, tokens)
    statistics = describe(sequences, trace.num_experts, banks=trace.metadata.banks)
    statistics = {"path": str(trace.path), "model": trace.metadata.model, **statistics}
    if html is not None:
        from simulator.cli.trace_page import trace_page

        try:
            write_text_atomically(html, trace_page(statistics))
        except OSError as error:
            raise TraceError(html, f"cannot be written: {error.strerror}") from None
    console = Console()
    if json_output:
        console.print_json(json.dumps(statistics))
        return
    for table in _tables(statistics):
        console.print(table)
    if html is not None:
        console.print(f"page: {html}")


def _tables(statistics: dict[str, Json]) -> list[Table]:
    title = "{model}: {tokens:,} tokens, {sequences} sequences, {layers} layers, top-{top_k} of {experts}"
    scalars = Table(title=title.format(**statistics), title_justify="left")
    scalars.add_column("", style="bold", no_wrap=True)
    scalars.add_column("mean over layers")
    scalars.add_column("value", justify="right")
    for group, label, path, form in _ROWS:
        scalars.add_row(group, label, _shown(at(statistics, path), form))
    tables = [scalars]
    for name, axis, x_path, y_path, form in _CURVES:
        x, y = at(statistics, x_path), at(statistics, y_path)
        if isinstance(x, list) and isinstance(y, list):
            tables.append(_row_table(name, axis, [str(value) for value in x], [_shown(value, form) for value in y]))
    hit_rates = at(statistics, "lru.hit_rate_frac")
    if isinstance(hit_rates, list):
        shares = [1, 2, 3, 4, 5, 6, 7, 8, 9]
        capacities = sorted({max(1, share * len(hit_rates) // 10) for share in shares})
        tables.append(
            _row_table(
                "LRU hit rate",
                "experts per layer",
                [str(capacity) for capacity in capacities],
                [_shown(hit_rates[capacity - 1], "{:.0%}") for capacity in capacities],
            )
        )
    return tables


def _row_table(name: str, axis: str, heads: list[str], values: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(axis, no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right")
    table.add_row(name, *values)
    return table


def _shown(value: Json, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "-"
