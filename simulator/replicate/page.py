"""Replications as one self-contained HTML page: how far apart they lie, each figure's interval, and all values."""

from collections.abc import Mapping, Sequence

from simulator.html_page import COLOURS, escaped, paragraph, plot_layout, plotted, plotted_page, sortable_table
from simulator.replicate.table import replication_parts, title_of, written
from simulator.rich_html import parts_of

Facts = Mapping[str, object]


def replication_page(facts: Facts, command: str) -> str:
    """Return the page of `simulator.replicate.facts.replication_facts`; `command` gives it again."""
    heading, table, *remarks = parts_of(replication_parts(facts))
    parts = [heading, paragraph(f"{facts['source']}. {facts['intervals']}."), *remarks]
    parts += ["<h2>How far replications lie apart</h2>", _plot(facts)]
    parts += ["<h2>Figures</h2>", table, "<h2>Each replication</h2>", _values(facts)]
    parts += ["<h2>Run again</h2>", f"<pre>{escaped(command)}</pre>"]
    return plotted_page(f"{facts['replications']} replications of {facts['source']}", parts)


def _plot(facts: Facts) -> str:
    """Draw every figure's replications and interval as shares of its mean, so that all stand in one plot."""
    names, near, marks, told, intervals = [], [], [], [], []
    for name, one, values in _figures(facts):
        mean = _number(one["mean"])
        if not mean:
            continue
        names.append(title_of(name))
        half = one["half_width"]
        intervals.append(100 * _number(half) / abs(mean) if half is not None else None)
        for seed, value in zip(_items(facts["seeds"]), values, strict=True):
            near.append(100 * (value / mean - 1))
            marks.append(title_of(name))
            told.append(f"{title_of(name)}: {written(name, value)}, seed {seed}")
    traces: list[Mapping[str, object]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "a replication",
            "x": near,
            "y": marks,
            "text": told,
            "hovertemplate": "%{text} (%{x:+.2f} %)<extra></extra>",
            "marker": {"color": COLOURS[4], "size": 8, "symbol": "line-ns-open", "line": {"width": 2}},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mean and its 95 % interval",
            "x": [0] * len(names),
            "y": names,
            "error_x": {"type": "data", "array": intervals, "thickness": 2, "width": 6, "color": COLOURS[1]},
            "marker": {"color": COLOURS[1], "size": 7},
            "hovertemplate": "%{y}: mean<extra></extra>",
        },
    ]
    layout = plot_layout("difference from the mean (%)", "", height=150 + 26 * len(names)) | {
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category", "tickfont": {"size": 12}}
    }
    return plotted(traces, layout, "Each figure of each replication, as a difference from the figure's mean")


def _values(facts: Facts) -> str:
    shown = [(name, values) for name, _, values in _figures(facts) if any(values)]
    seeds = _items(facts["seeds"])
    rows = [
        [(seed, f"{seed}"), *((values[place], written(name, values[place])) for name, values in shown)]
        for place, seed in enumerate(seeds)
    ]
    return sortable_table(["seed", *(title_of(name) for name, _ in shown)], rows)


def _figures(facts: Facts) -> list[tuple[str, Mapping[str, object], Sequence[float]]]:
    measures = facts["measures"]
    assert isinstance(measures, Mapping)
    return [(name, one, one["values"]) for name, one in measures.items()]


def _items(value: object) -> Sequence[object]:
    assert isinstance(value, Sequence)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
