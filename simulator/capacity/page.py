"""A search for the capacity as one self-contained HTML page: goodput and latency against rate, and each probe."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from simulator.capacity.table import HEADINGS, cells, probes_of, result_of
from simulator.html_page import COLOURS, Cell, details, drawn, escaped, html_page, listed, paragraph, sortable_table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Row = Mapping[str, object]
_SORT_BY = (
    "offered_requests_per_s",
    "rate_factor",
    "kept_share",
    "is_sustained",
    "goodput_requests_per_s",
    "throughput_tokens_per_s",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_mean_s",
    "queueing_p99_s",
    "gpu_busy_frac",
)
_CAPTIONS = (
    "Requests per second that were answered as promised, and all that were answered, against what arrived. Dotted: the rate "
    "that is sustained.",
    "What is held against the share that is asked for (dashed).",
    "Time to the first token: the median, and the 99th percentile.",
)


def capacity_page(facts: Mapping[str, object]) -> str:
    """Return the page of what `simulator.capacity.facts.capacity_facts` gives."""
    rows = probes_of(facts)
    parts = [
        paragraph(result_of(facts)),
        paragraph(f"Sustained: {facts['criterion']}."),
        paragraph(str(facts["source"])),
    ]
    for index, (figure, caption) in enumerate(zip(_figures(facts, rows), _CAPTIONS, strict=True)):
        parts += [drawn(figure, index), paragraph(caption)]
    table = [[_cell(row, key, text) for key, text in zip(_SORT_BY, cells(row), strict=True)] for row in rows]
    parts += ["<h2>All probes</h2>", sortable_table(HEADINGS, table)]
    warnings = facts["warnings"]
    assert isinstance(warnings, Sequence)
    parts += ["<h2>Warnings</h2>", listed([str(warning) for warning in warnings] or ["none"])]
    scenario = yaml.safe_dump(facts["scenario"], sort_keys=False, allow_unicode=True)
    parts.append(details("The scenario, at one time its rate", f"<pre>{escaped(scenario)}</pre>"))
    return html_page(f"Sustainable rate: {facts['model']} on {facts['hardware']}", parts)


def _cell(row: Row, key: str, text: str) -> Cell:
    value = row[key]
    return (int(value) if isinstance(value, bool) else value, text)


def _figures(facts: Mapping[str, object], rows: Sequence[Row]) -> "Sequence[Figure]":
    goodput = _blank("requests per second")
    _add(goodput, rows, "throughput_requests_per_s", "answered", COLOURS[4])
    _add(goodput, rows, "goodput_requests_per_s", "as promised", COLOURS[0])
    share = _blank("share kept")
    _add(share, rows, "kept_share", "kept", COLOURS[0])
    share.add_hline(y=facts["share"], line={"color": COLOURS[1], "width": 1, "dash": "dash"})
    ttft = _blank("TTFT (s)")
    _add(ttft, rows, "ttft_p50_s", "p50", COLOURS[0])
    _add(ttft, rows, "ttft_p99_s", "p99", COLOURS[4])
    ttft.update_yaxes(type="log")
    figures = [goodput, share, ttft]
    sustained = facts["sustained_requests_per_s"]
    if isinstance(sustained, float):
        for figure in figures:
            figure.add_vline(x=sustained, line={"color": COLOURS[2], "width": 1, "dash": "dot"})
    return figures


def _add(figure: "Figure", rows: Sequence[Row], key: str, name: str, colour: str) -> None:
    from plotly.graph_objects import Scatter

    known = [row for row in rows if row[key] is not None and row["offered_requests_per_s"] is not None]
    figure.add_trace(
        Scatter(
            x=[row["offered_requests_per_s"] for row in known],
            y=[row[key] for row in known],
            mode="lines+markers",
            name=name,
            line={"color": colour},
            marker={"symbol": ["circle" if row["is_sustained"] else "x" for row in known], "size": 8},
        )
    )


def _blank(y_title: str) -> "Figure":
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=340,
        margin={"t": 20, "r": 20, "l": 80},
        xaxis={"title": "requests per second that arrive"},
        yaxis={"title": y_title},
        legend={"orientation": "h", "y": -0.2},
    )
    return figure
