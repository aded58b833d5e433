"""The plots of a report. Colours are told apart by people who see few of them, on white and on black."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simulator.metrics.counters import ATTRIBUTION
from validation.compare.report import BANDS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Source: Okabe and Ito, "Color Universal Design", 2008, without black and yellow.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999")
_CLEAR = "rgba(0,0,0,0)"
_HEIGHT_PER_BAR = 18


def report_figures(report: Mapping[str, object]) -> "list[Figure]":
    """Return simulated against measured TPOT, the distribution of errors, and where the time goes."""
    rows = report["configurations"]
    assert isinstance(rows, Sequence)
    return [_scatter(rows), _distribution(rows), _attribution(rows)] if rows else []


def _scatter(rows: Sequence[Mapping[str, object]]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = _blank("TPOT, simulated against measured", "measured (ms)", "simulated (ms)")
    measured = [_inner(row, "measured", "tpot_s") * 1e3 for row in rows]
    simulated = [_inner(row, "simulated", "tpot_s") * 1e3 for row in rows]
    low, high = 0.9 * min(*measured, *simulated), 1.1 * max(*measured, *simulated)
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
        of_model = [place for place, row in enumerate(rows) if row["model"] == model]
        x = [measured[place] for place in of_model]
        least = [-_inner(rows[place], "spread", "min_frac") for place in of_model]
        most = [_inner(rows[place], "spread", "max_frac") for place in of_model]
        figure.add_trace(
            Scatter(
                x=x,
                y=[simulated[place] for place in of_model],
                mode="markers",
                marker={"color": _COLOURS[index % len(_COLOURS)], "size": 8},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [value * frac for value, frac in zip(x, most, strict=True)],
                    "arrayminus": [value * frac for value, frac in zip(x, least, strict=True)],
                },
                text=[_hover(rows[place]) for place in of_model],
                hovertemplate="%{text}<extra></extra>",
                name=model,
            )
        )
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure


def _distribution(rows: Sequence[Mapping[str, object]]) -> "Figure":
    from plotly.graph_objects import Histogram, Scatter

    errors = [100 * _number(row["tpot_error_frac"]) for row in rows]
    sizes = sorted(abs(error) for error in errors)
    figure = _blank("Errors of TPOT", "error (%)", "share of configurations at most that far off")
    figure.add_trace(
        Histogram(x=errors, name="signed error (count, right)", yaxis="y2", marker={"color": _COLOURS[4]}, opacity=0.5)
    )
    figure.add_trace(
        Scatter(
            x=[0, *sizes],
            y=[number / len(sizes) for number in range(len(sizes) + 1)],
            mode="lines",
            line={"shape": "hv", "color": _COLOURS[0], "width": 2.5},
            name="size of the error",
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

    figure = _blank("Where the time of a token goes, measured and simulated", "ms per token", "")
    sides = ("simulated", "measured")
    labels = [[str(row["id"]) for row in rows for _ in sides], [side for _ in rows for side in sides]]
    for index, cause in enumerate(ATTRIBUTION):
        values = [1e3 * _cause(row, side, cause) for row in rows for side in sides]
        if any(values):
            figure.add_trace(
                Bar(
                    y=labels,
                    x=values,
                    orientation="h",
                    name=cause.replace("_", " "),
                    marker={"color": _COLOURS[index % len(_COLOURS)]},
                )
            )
    figure.update_layout(barmode="stack", height=160 + 2 * _HEIGHT_PER_BAR * len(rows))
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10}, automargin=True)
    return figure


def _hover(row: Mapping[str, object]) -> str:
    error = _number(row["tpot_error_frac"])
    return f"{row['id']}<br>error {error:+.1%}, repeats {_inner(row, 'spread', 'min_frac'):+.1%} to " + (
        f"{_inner(row, 'spread', 'max_frac'):+.1%}"
    )


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


def _blank(title: str, x_title: str, y_title: str) -> "Figure":
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        title={"text": title},
        height=440,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        xaxis_title=x_title,
        yaxis_title=y_title,
        legend={"orientation": "h", "y": -0.2},
    )
    return figure
