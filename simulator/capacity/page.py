"""A search for the capacity as one self-contained HTML page: goodput and latency against rate, and each probe."""

from collections.abc import Mapping, Sequence

import yaml

from simulator.capacity.table import HEADINGS, cells, probes_of, result_of
from simulator.html_page import (
    COLOURS,
    Cell,
    details,
    escaped,
    listed,
    paragraph,
    plot_layout,
    plotted,
    plotted_page,
    sortable_table,
)

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
    for plot, caption in zip(_plots(facts, rows), _CAPTIONS, strict=True):
        parts += [plot, paragraph(caption)]
    table = [[_cell(row, key, text) for key, text in zip(_SORT_BY, cells(row), strict=True)] for row in rows]
    parts += ["<h2>All probes</h2>", sortable_table(HEADINGS, table)]
    warnings = facts["warnings"]
    assert isinstance(warnings, Sequence)
    parts += ["<h2>Warnings</h2>", listed([str(warning) for warning in warnings] or ["none"])]
    scenario = yaml.safe_dump(facts["scenario"], sort_keys=False, allow_unicode=True)
    parts.append(details("The scenario, at one time its rate", f"<pre>{escaped(scenario)}</pre>"))
    return plotted_page(f"Sustainable rate: {facts['model']} on {facts['hardware']}", parts)


def _cell(row: Row, key: str, text: str) -> Cell:
    value = row[key]
    return (int(value) if isinstance(value, bool) else value, text)


def _plots(facts: Mapping[str, object], rows: Sequence[Row]) -> Sequence[str]:
    share = facts["share"]
    sustained = facts["sustained_requests_per_s"]
    kept_shape = _line("y", share, COLOURS[1], "dash")
    shapes = [_line("x", sustained, COLOURS[2], "dot")] if isinstance(sustained, float) else []
    answered = [
        _trace(rows, "throughput_requests_per_s", "answered", COLOURS[4]),
        _trace(rows, "goodput_requests_per_s", "as promised", COLOURS[0]),
    ]
    ttft = [_trace(rows, "ttft_p50_s", "p50", COLOURS[0]), _trace(rows, "ttft_p99_s", "p99", COLOURS[4])]
    return (
        _plot(answered, "requests per second", shapes, "Requests answered against those that arrive"),
        _plot([_trace(rows, "kept_share", "kept", COLOURS[0])], "share kept", [*shapes, kept_shape], "The share kept"),
        _plot(ttft, "TTFT (s)", shapes, "Time to the first token", is_log=True),
    )


def _trace(rows: Sequence[Row], key: str, name: str, colour: str) -> Mapping[str, object]:
    """Return a line through all probes, from the lowest rate to the highest; crosses are those not sustained."""
    known = [row for row in rows if row[key] is not None and row["offered_requests_per_s"] is not None]
    known.sort(key=lambda row: (_number(row["offered_requests_per_s"]), _number(row["rate_factor"])))
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [row["offered_requests_per_s"] for row in known],
        "y": [row[key] for row in known],
        "line": {"color": colour},
        "marker": {"symbol": ["circle" if row["is_sustained"] else "x" for row in known], "size": 8},
    }


def _line(axis: str, value: object, colour: str, dash: str) -> Mapping[str, object]:
    other = "y" if axis == "x" else "x"
    ends = {f"{axis}0": value, f"{axis}1": value, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper"}
    return {"type": "line", **ends, "line": {"color": colour, "width": 1.5, "dash": dash}}


def _plot(
    traces: Sequence[Mapping[str, object]],
    y_title: str,
    shapes: Sequence[Mapping[str, object]],
    label: str,
    *,
    is_log: bool = False,
) -> str:
    layout = plot_layout("requests per second that arrive", y_title, height=340)
    y_axis: dict[str, object] = {"title": {"text": y_title}, "automargin": True, "rangemode": "tozero"}
    if y_title == "share kept":
        y_axis |= {"tickformat": ".0%"}
    if is_log:
        y_axis |= {"type": "log", "dtick": 1}
    return plotted(traces, layout | {"shapes": list(shapes), "yaxis": y_axis}, label)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
