"""The plots of a comparison."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simulator.compare.choose import ON_DEMAND, ORACLES
from simulator.compare.facts import Row, lost_mass_frac, rows_of
from simulator.compare.service_figures import ttft_bars
from simulator.compare.table import CAUSES, losses
from simulator.durations import format_duration
from simulator.html_page import COLOURS
from simulator.metrics.counters import ATTRIBUTION

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROW_PIXELS = 22
_NS_PER_MS = 1e6
_SWAPPED = "#5b4a8a"


def comparison_figures(facts: Mapping[str, object]) -> "Sequence[Figure]":
    """Return bars of the latency, bars of where the time goes, and the latency against what the output loses."""
    rows = [row for row in rows_of(facts) if row["status"] == "ok"]
    latency = str(facts["latency"])
    timed = [row for row in rows if isinstance(row[f"{latency}_mean_s"], float)]
    timed.sort(key=lambda row: (-_milliseconds(row, latency), str(row["system"])))  # the fastest on top
    figures = [_latency_bars(timed, latency), _attribution_bars(timed), _against_loss(timed, latency)]
    return [ttft_bars(timed), *figures] if facts["is_service"] else figures


def _latency_bars(rows: Sequence[Row], latency: str) -> "Figure":
    from plotly.graph_objects import Bar

    figure = _blank(f"mean {latency.upper()} (ms)", "", len(rows))
    figure.add_trace(
        Bar(
            orientation="h",
            y=[str(row["system"]) for row in rows],
            x=[_milliseconds(row, latency) for row in rows],
            marker={"color": [COLOURS[6] if row["is_reference"] else COLOURS[0] for row in rows]},
            text=[format_duration(row[f"{latency}_mean_s"]) for row in rows],
            hovertext=[f"p99 {format_duration(row[f'{latency}_p99_s'])}" for row in rows],
            showlegend=False,
        )
    )
    of_system = {str(row["system"]): _milliseconds(row, latency) for row in rows}
    for name, colour in ((ON_DEMAND, COLOURS[1]), *((name, COLOURS[2]) for name in ORACLES)):
        if name in of_system:
            figure.add_vline(x=of_system[name], line={"color": colour, "width": 1, "dash": "dot"})
    return figure


def _attribution_bars(rows: Sequence[Row]) -> "Figure":
    from plotly.graph_objects import Bar

    figure = _blank("GPU stream's time per output token (ms)", "", len(rows))
    for cause, colour in zip((*ATTRIBUTION, "kv_swap"), (*COLOURS, _SWAPPED), strict=True):
        per_token = [(_whole(row, f"{cause}_ns")) / max(1, _whole(row, "tokens")) / _NS_PER_MS for row in rows]
        if any(per_token):
            figure.add_trace(
                Bar(
                    orientation="h",
                    y=[str(row["system"]) for row in rows],
                    x=per_token,
                    name=CAUSES[cause],
                    marker={"color": colour},
                )
            )
    figure.update_layout(barmode="stack", legend={"orientation": "h", "y": -0.08})
    return figure


def _against_loss(rows: Sequence[Row], latency: str) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = _blank(
        "gate mass dropped, unlike, in low precision or late (% of all)", f"mean {latency.upper()} (ms)", 16
    )
    figure.add_trace(
        Scatter(
            x=[100 * (lost_mass_frac(row) or 0) for row in rows],
            y=[_milliseconds(row, latency) for row in rows],
            mode="markers+text",
            text=[str(row["system"]) for row in rows],
            textposition="middle right",
            textfont={"size": 9},
            hovertext=[f"{row['system']}: {losses(row)}" for row in rows],
            hoverinfo="text+y",
            marker={"size": 8, "color": [COLOURS[6] if row["is_reference"] else COLOURS[0] for row in rows]},
            showlegend=False,
        )
    )
    return figure


def _blank(x_title: str, y_title: str, num_rows: int) -> "Figure":
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=140 + _ROW_PIXELS * num_rows,
        margin={"t": 20, "r": 20, "l": 70 if y_title else 190},
        xaxis={"title": x_title, "rangemode": "tozero"},
        yaxis={"title": y_title},
    )
    return figure


def _milliseconds(row: Row, latency: str) -> float:
    value = row[f"{latency}_mean_s"]
    assert isinstance(value, float)
    return 1000 * value


def _whole(row: Row, key: str) -> int:
    value = row[key]
    return value if isinstance(value, int) else 0  # what a closed batch does not have
