"""The plots of a report. Colours are told apart by people who see few of them, on white and on black."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simulator.html_page import COLOURS, blank_figure
from simulator.metrics.counters import ATTRIBUTION
from validation.compare.report import BANDS
from validation.compare.tables import percent, range_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_LIGHT = 0.35
_HEIGHT_PER_BAR = 18


def report_figures(report: Mapping[str, object]) -> "list[Figure]":
    """Return simulated against measured TPOT, the distribution of errors, and where the time goes.

    Light marks are those of all steps, the others those of the steps at the calibrated speed. TPOT is that of all steps; at
    the calibrated speed the measured one is what the error says: simulated / (1 + error).
    """
    rows = report["configurations"]
    assert isinstance(rows, Sequence)
    return [_scatter(rows), _distribution(rows), _attribution(rows)] if rows else []


def _scatter(rows: Sequence[Mapping[str, object]]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = blank_figure("measured (ms)", "simulated (ms)", title="TPOT, simulated against measured", height=440)
    measured = [_inner(row, "measured", "tpot_s") * 1e3 for row in rows]
    simulated = [_inner(row, "simulated", "tpot_s") * 1e3 for row in rows]
    at_speed = [
        None if row["tpot_error_frac"] is None else value / (1 + _number(row["tpot_error_frac"]))
        for row, value in zip(rows, simulated, strict=True)
    ]
    shown = [*measured, *simulated, *(value for value in at_speed if value is not None)]
    low, high = 0.9 * min(shown), 1.1 * max(shown)
    for band in reversed(BANDS):
        edges = [low * (1 - band), high * (1 - band), high * (1 + band), low * (1 + band)]
        figure.add_trace(
            Scatter(
                x=[low, high, high, low],
                y=edges,
                fill="toself",
                mode="none",
                fillcolor="rgba(86,180,233,0.18)",
                name=f"within {band:.0%}",
                hoverinfo="skip",
            )
        )
    diagonal = {"dash": "dot", "color": "#999"}
    figure.add_trace(Scatter(x=[low, high], y=[low, high], mode="lines", line=diagonal, name="equal"))
    for index, model in enumerate(dict.fromkeys(str(row["model"]) for row in rows)):
        colour = COLOURS[index % len(COLOURS)]
        of_model = [place for place, row in enumerate(rows) if row["model"] == model]
        for x_of, spread, name, opacity in (
            (measured, "spread", f"{model}, all steps", _LIGHT),
            (at_speed, "steady", f"{model}, at the calibrated speed", 1.0),
        ):
            places = [place for place in of_model if x_of[place] is not None]
            x = [_number(x_of[place]) for place in places]
            figure.add_trace(
                Scatter(
                    x=x,
                    y=[simulated[place] for place in places],
                    mode="markers",
                    marker={"color": colour, "size": 8},
                    opacity=opacity,
                    error_x={
                        "type": "data",
                        "symmetric": False,
                        "array": [v * _edge(rows[p], spread, "max_frac") for v, p in zip(x, places, strict=True)],
                        "arrayminus": [-v * _edge(rows[p], spread, "min_frac") for v, p in zip(x, places, strict=True)],
                    },
                    text=[_hover(rows[place]) for place in places],
                    hovertemplate="%{text}<extra></extra>",
                    name=name,
                )
            )
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure


def _distribution(rows: Sequence[Mapping[str, object]]) -> "Figure":
    from plotly.graph_objects import Histogram, Scatter

    at_speed, of_all = (
        [100 * _number(row[key]) for row in rows if row[key] is not None]
        for key in ("tpot_error_frac", "tpot_error_all_frac")
    )
    figure = blank_figure(
        "error (%)", "share of configurations at most that far off", title="Errors of TPOT", height=440
    )
    figure.add_trace(
        Histogram(
            x=at_speed,
            name="signed error at the calibrated speed (count, right)",
            yaxis="y2",
            marker={"color": COLOURS[4]},
            opacity=0.5,
        )
    )
    for errors, name, opacity in (
        (of_all, "size of the error, all steps", _LIGHT),
        (at_speed, "size of the error, steps at the calibrated speed", 1.0),
    ):
        sizes = sorted(abs(error) for error in errors)
        figure.add_trace(
            Scatter(
                x=[0, *sizes],
                y=[number / max(1, len(sizes)) for number in range(len(sizes) + 1)],
                mode="lines",
                line={"shape": "hv", "color": COLOURS[0], "width": 2.5},
                opacity=opacity,
                name=name,
            )
        )
    figure.update_layout(
        yaxis={"range": [0, 1.02]},
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "title": {"text": "configurations"},
            "tickformat": "d",
            "showgrid": False,
        },
    )
    return figure


def _attribution(rows: Sequence[Mapping[str, object]]) -> "Figure":
    from plotly.graph_objects import Bar

    title = "Where the time of a token goes, measured and simulated"
    figure = blank_figure("% of the measured time", "", title=title)
    wholes = {str(row["id"]): sum(_cause(row, "measured", cause) for cause in ATTRIBUTION) or 1.0 for row in rows}
    sides = ("simulated", "measured")
    labels = [[str(row["id"]) for row in rows for _ in sides], [side for _ in rows for side in sides]]
    for index, cause in enumerate(ATTRIBUTION):
        seconds = [_cause(row, side, cause) for row in rows for side in sides]
        if any(seconds):
            figure.add_trace(
                Bar(
                    y=labels,
                    x=[100 * value / wholes[name] for name, value in zip(labels[0], seconds, strict=True)],
                    hovertext=[f"{1e3 * value:.4g} ms per token" for value in seconds],
                    orientation="h",
                    name=cause.replace("_", " "),
                    marker={"color": COLOURS[index % len(COLOURS)]},
                )
            )
    figure.update_layout(barmode="stack", height=160 + 2 * _HEIGHT_PER_BAR * len(rows))
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10}, automargin=True)
    return figure


def _hover(row: Mapping[str, object]) -> str:
    lines = [str(row["id"])]
    for name, error, spread in (
        ("at the calibrated speed", "tpot_error_frac", "steady"),
        ("all steps", "tpot_error_all_frac", "spread"),
    ):
        inner = row[spread]
        assert isinstance(inner, Mapping)
        lines.append(f"{name}: error {percent(row[error], signed=True)}, repeats {range_text(inner)}")
    return "<br>".join([*lines, f"{percent(row['steady_frac'])} of the steps were at the calibrated speed"])


def _edge(row: Mapping[str, object], group: str, key: str) -> float:
    """Return an edge of a spread; of one that is not known, its middle."""
    values = row[group]
    assert isinstance(values, Mapping)
    return 0.0 if values[key] is None else _number(values[key])


def _cause(row: Mapping[str, object], side: str, cause: str) -> float:
    values = row[side]
    assert isinstance(values, Mapping)
    return _number(values["attribution_s_per_token"].get(cause, 0.0))


def _inner(row: Mapping[str, object], group: str, key: str) -> float:
    values = row[group]
    assert isinstance(values, Mapping)
    return _number(values[key])


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
