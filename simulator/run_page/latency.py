"""How latencies are distributed: a curve each, with the percentiles of the summary on it."""

from collections.abc import Mapping, Sequence
from math import log

from simulator.durations import format_duration
from simulator.html_page import COLOURS, plot_layout, plotted
from simulator.metrics.distribution import Distribution
from simulator.run_page.units import duration_unit

NAMES = {
    "ttft": "Time to the first token (TTFT)",
    "tpot": "Mean time between a request's tokens (TPOT)",
    "itl": "Time between two tokens (ITL)",
    "e2e": "Time to the last token (E2E)",
}
_SHARES = (*(at / 100 for at in range(100)), 0.995, 0.999, 0.9995, 0.9999, 1.0)
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_LONG_TAIL = 20.0
_RIGHT = 0.45
_HEIGHT = 300


def latency_plots(latencies: Mapping[str, Distribution], summary: Mapping[str, object]) -> list[str]:
    """Draw those of which there are at least two different values."""
    return [
        plot for name, title in NAMES.items() if (plot := _plot(title, latencies[name], _numbers(summary[f"{name}_s"])))
    ]


def _plot(title: str, distribution: Distribution, summary_s: Mapping[str, float]) -> str:
    seconds = distribution.quantiles_s(_SHARES)
    if not seconds or seconds[0] == seconds[-1]:
        return ""
    unit, factor = duration_unit(seconds)
    is_log = seconds[0] > 0 and seconds[-1] > _LONG_TAIL * summary_s["p50"]
    curve: dict[str, object] = {
        "type": "scatter",
        "mode": "lines",
        "x": [value * factor for value in seconds],
        "y": list(_SHARES),
        "line": {"color": COLOURS[0], "width": 2},
        "hovertemplate": f"%{{y:.2%}} within %{{x:.4g}} {unit}<extra></extra>",
    }
    points: dict[str, object] = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [summary_s[name] * factor for name in _PERCENTILES],
        "y": list(_PERCENTILES.values()),
        "text": [f"{name} {format_duration(summary_s[name])}" for name in _PERCENTILES],
        "textposition": [
            "top left" if name == "p99" or _place(summary_s[name], seconds, is_log=is_log) > _RIGHT else "bottom right"
            for name in _PERCENTILES
        ],
        "marker": {"color": COLOURS[1], "size": 7},
        "hovertemplate": "%{text}<extra></extra>",
        "cliponaxis": False,
    }
    layout = plot_layout(unit, "share", title=title, height=_HEIGHT)
    x_axis: dict[str, object] = {"title": {"text": f"{unit}, of {distribution.count:,}"}, "rangemode": "tozero"}
    if is_log:
        x_axis |= {"type": "log"}
    layout |= {
        "showlegend": False,
        "title": {"text": title, "x": 0, "xanchor": "left", "font": {"size": 14}},
        "xaxis": x_axis,
        "yaxis": {"tickformat": ".0%", "range": [0, 1.15], "automargin": True},
    }
    return plotted([curve, points], layout, f"{title}: the share of values up to each duration")


def _place(value_s: float, seconds: Sequence[float], *, is_log: bool) -> float:
    """Return where on the axis a value stands, from 0 at its left end to 1 at its right."""
    if is_log:
        return log(value_s / seconds[0]) / log(seconds[-1] / seconds[0])
    return value_s / seconds[-1]


def _numbers(value: object) -> Mapping[str, float]:
    assert isinstance(value, Mapping)
    return value
