"""The plots of a comparison."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simulator.compare.choose import ON_DEMAND, ORACLES
from simulator.compare.facts import Row, lost_mass_frac, rows_of
from simulator.compare.service_figures import ttft_bars
from simulator.compare.table import CAUSES, losses
from simulator.durations import format_duration
from simulator.html_page import COLOURS, blank_figure
from simulator.metrics.counters import ATTRIBUTION
from simulator.pareto import pareto_front

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROW_PIXELS = 22
_FAR = 3  # times the median: what lies beyond is cut off, so that the rest can be told apart
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

    figure = _rows_figure(f"mean {latency.upper()} (ms)", "", len(rows))
    figure.add_trace(
        Bar(
            orientation="h",
            y=[str(row["system"]) for row in rows],
            x=[_milliseconds(row, latency) for row in rows],
            marker={"color": [COLOURS[6] if row["is_reference"] else COLOURS[0] for row in rows]},
            text=[format_duration(row[f"{latency}_mean_s"]) for row in rows],
            textposition="inside",
            insidetextanchor="start",
            textfont={"color": "white", "size": 11},
            hovertext=[f"p99 {format_duration(row[f'{latency}_p99_s'])}" for row in rows],
            showlegend=False,
        )
    )
    of_system = {str(row["system"]): _milliseconds(row, latency) for row in rows}
    for name, colour in ((ON_DEMAND, COLOURS[1]), *((name, COLOURS[2]) for name in ORACLES)):
        if name in of_system:
            figure.add_vline(x=of_system[name], line={"color": colour, "width": 1, "dash": "dot"})
    figure.update_xaxes(range=[0, _edge(list(of_system.values()))])
    return figure


def _attribution_bars(rows: Sequence[Row]) -> "Figure":
    from plotly.graph_objects import Bar

    figure = _rows_figure("GPU stream's time per output token (ms)", "", len(rows))
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
    figure.update_layout(barmode="stack")
    causes = (*ATTRIBUTION, "kv_swap")
    wholes = [sum(_whole(row, f"{cause}_ns") for cause in causes) / max(1, _whole(row, "tokens")) for row in rows]
    figure.update_xaxes(range=[0, _edge([whole / _NS_PER_MS for whole in wholes])])
    return figure


def _against_loss(rows: Sequence[Row], latency: str) -> "Figure":
    from plotly.graph_objects import Scatter

    points = [(100 * (lost_mass_frac(row) or 0), _milliseconds(row, latency)) for row in rows]
    front = set(pareto_front(points))
    figure = blank_figure(
        "gate mass dropped, unlike, in low precision or late (% of all)", f"mean {latency.upper()} (ms)", height=480
    )
    figure.add_trace(
        Scatter(
            x=[loss for loss, _ in points],
            y=[latency_ms for _, latency_ms in points],
            mode="markers+text",
            text=[str(row["system"]) if place in front else "" for place, row in enumerate(rows)],
            textposition="middle right",
            textfont={"size": 11},
            hovertext=[f"{row['system']}: {losses(row)}" for row in rows],
            hoverinfo="text+y",
            marker={"size": 8, "color": [COLOURS[6] if row["is_reference"] else COLOURS[0] for row in rows]},
            cliponaxis=False,
            showlegend=False,
        )
    )
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(range=[0, _edge([latency_ms for _, latency_ms in points])])
    return figure


def _edge(values: Sequence[float]) -> float:
    """Return where a plot ends: beyond the largest value, or, where few are far larger than the rest, beyond the rest."""
    if not values:
        return 1
    typical = sorted(values)[len(values) // 2]
    return 1.1 * max(value for value in values if value <= _FAR * typical)


def _rows_figure(x_title: str, y_title: str, num_rows: int) -> "Figure":
    figure = blank_figure(x_title, y_title, height=140 + _ROW_PIXELS * num_rows)
    figure.update_xaxes(rangemode="tozero")
    return figure


def _milliseconds(row: Row, latency: str) -> float:
    value = row[f"{latency}_mean_s"]
    assert isinstance(value, float)
    return 1000 * value


def _whole(row: Row, key: str) -> int:
    value = row[key]
    return value if isinstance(value, int) else 0  # what a closed batch does not have
