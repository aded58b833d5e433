"""The plots of an explanation: where the time went, the tornado of the changes, the curves of the knees."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simulator.explain.metrics import METRIC, Metric
from simulator.explain.table import mapping, rows, shown, signed
from simulator.html_page import COLOURS, blank_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROW_PIXELS = 26
_GIB = 2**30
_FAR = 1e5  # times as fast as now: as good as infinite, and off the plot

Facts = Mapping[str, object]


def explanation_figures(facts: Facts) -> "Sequence[tuple[Figure, str]]":
    """Return the plots, each with its caption."""
    objective = METRIC[str(mapping(facts["objective"])["name"])]
    found = [
        (
            _tornado(facts, objective),
            f"Each bar is a run with one change: left of now {_left(objective)}. Longest first.",
        ),
        (_time(facts), "Where the time of the GPU stream went; all parts together are the makespan."),
    ]
    found += [
        (_knee(row, objective), f"{str(row['knee']).capitalize()}: the ring is the knee, the diamond is now.")
        for row in rows(facts["knees"])
        if row["status"] == "ok"
    ]
    return found


def _left(objective: Metric) -> str:
    return "is fewer, which is worse" if objective.is_rate else "is shorter, which is better"


def _tornado(facts: Facts, objective: Metric) -> "Figure":
    """Draw the changes of the objective from now on, the largest on top; worse in one colour, better in another."""
    from plotly.graph_objects import Bar

    ran = [row for row in rows(facts["sensitivities"]) if row["status"] == "ok"]
    ran = [row for row in ran if isinstance(mapping(row["change_frac"])[objective.name], float)][::-1]
    changes = [_number(mapping(row["change_frac"])[objective.name]) for row in ran]
    better = [(change > 0) == objective.is_rate for change in changes]
    figure = blank_figure(f"change of {objective.words} (%)", "", height=120 + _ROW_PIXELS * len(ran))
    figure.add_trace(
        Bar(
            orientation="h",
            y=[str(row["name"]) for row in ran],
            x=[100 * change for change in changes],
            marker={"color": [COLOURS[2] if good else COLOURS[1] for good in better]},
            text=[signed(change) for change in changes],
            hovertext=[shown(objective, mapping(row["metrics"])[objective.name]) for row in ran],
            hoverinfo="text+y",
            showlegend=False,
        )
    )
    figure.add_vline(x=0, line={"color": COLOURS[6], "width": 1})
    return figure


def _time(facts: Facts) -> "Figure":
    from plotly.graph_objects import Bar

    figure = blank_figure("time per output token (ms)", "", height=260)
    for row, colour in zip(rows(facts["where_the_time_went"]), COLOURS * 2, strict=False):
        figure.add_trace(
            Bar(
                orientation="h",
                y=[""],
                x=[1000 * _number(row["per_token_s"] or 0)],
                name=f"{row['words']} {_number(row['frac']):.1%}",
                marker={"color": colour},
            )
        )
    figure.update_layout(barmode="stack")
    return figure


def _knee(row: Mapping[str, object], objective: Metric) -> "Figure":
    """Draw the objective at each size that was tried."""
    from plotly.graph_objects import Scatter

    is_cache = row["knee"] == "cache"
    tried = [one for one in rows(row["tried"]) if isinstance(one[objective.name], float)]
    if not is_cache:
        tried = [one for one in tried if _number(one["factor"]) < _FAR]
    unit = 1 if objective.is_rate else 1000
    y_title = f"{objective.words} ({'1/s' if objective.is_rate else 'ms'})"
    figure = blank_figure("cache (GiB)" if is_cache else f"link ({_link_unit(tried)})", y_title, height=380)
    x, y = [_x(one) for one in tried], [unit * _number(one[objective.name]) for one in tried]
    line = {"color": COLOURS[0], "width": 1.5}
    figure.add_trace(Scatter(x=x, y=y, mode="lines+markers", line=line, showlegend=False))
    marks = (("now", "now", "diamond", COLOURS[1]), ("at", "knee", "circle-open", COLOURS[2]))
    for key, name, symbol, colour in marks:
        at = _x(mapping(row[key]))
        if at in x:
            marker = {"symbol": symbol, "size": 13, "color": colour, "line": {"width": 2}}
            figure.add_trace(Scatter(x=[at], y=[y[x.index(at)]], mode="markers", marker=marker, name=name))
    figure.update_yaxes(rangemode="tozero")
    if not is_cache:
        figure.update_xaxes(type="log")
    return figure


def _link_unit(tried: Sequence[Mapping[str, object]]) -> str:
    return "GB/s" if tried and "bandwidth_bytes_per_s" in tried[0] else "times as fast as now"


def _x(point: Mapping[str, object]) -> float:
    if "bytes" in point:
        return _number(point["bytes"]) / _GIB
    return (
        _number(point["bandwidth_bytes_per_s"]) / 1e9 if "bandwidth_bytes_per_s" in point else _number(point["factor"])
    )


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
