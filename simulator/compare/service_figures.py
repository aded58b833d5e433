"""The plot that only a comparison of services has."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulator.compare.facts import Row
from simulator.durations import format_duration
from simulator.html_page import COLOURS, blank_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROW_PIXELS = 36


def ttft_bars(rows: Sequence[Row]) -> "Figure":
    """Draw the median and the 99th percentile of TTFT, system by system."""
    from plotly.graph_objects import Bar

    figure = blank_figure("TTFT (ms)", "", height=140 + _ROW_PIXELS * len(rows))
    for part, colour in (("p50", COLOURS[0]), ("p99", COLOURS[4])):
        seconds = [row[f"ttft_{part}_s"] for row in rows]
        figure.add_trace(
            Bar(
                orientation="h",
                y=[str(row["system"]) for row in rows],
                x=[1000 * value if isinstance(value, float) else 0 for value in seconds],
                name=part,
                marker={"color": colour},
                text=[format_duration(value) for value in seconds],
            )
        )
    figure.update_layout(barmode="group")
    figure.update_xaxes(rangemode="tozero")
    return figure
