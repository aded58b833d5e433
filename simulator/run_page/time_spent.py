"""Where the time goes: of the GPU stream in all, by layer, and of requests by class."""

from collections.abc import Mapping, Sequence

from simulator.durations import format_duration
from simulator.html_page import COLOURS, plot_layout, plotted
from simulator.metrics.counters import ATTRIBUTION, NUM_WORK
from simulator.report import CAUSES
from simulator.run_page.units import duration_unit

_WORK, _WAIT, _NOTHING = COLOURS[0], COLOURS[1], COLOURS[6]
COLOURS_TOLD = "Blue is work, orange is waiting, grey is nothing to do."
_LABEL_SIZE = 12
_OF_REQUESTS = {"queue": "in the queue", "blocked": "blocked by steps without it"}
_OF_CAUSES = {
    "expert_compute": COLOURS[0],
    "non_expert_compute": COLOURS[4],
    "step_compute": COLOURS[8],
    "runtime_overhead": COLOURS[2],
    "exposed_demand_fetch": COLOURS[1],
    "exposed_late_prefetch": COLOURS[5],
    "queued_behind_prefetch": COLOURS[7],
    "exposed_cpu_expert": COLOURS[3],
    "exposed_nvme": "#a05a2c",
    "all_to_all": "#4b6a88",
    "kv_swap": "#b58ecb",
    "queue": COLOURS[6],
    "blocked": "#c3c8d0",
}
"""Work is cool, waiting warm, and what comes of others grey."""


def attribution_plot(attribution_ns: Mapping[str, int]) -> str:
    """Draw a bar for each cause that has any of the GPU stream's time, in the colours that `COLOURS_TOLD` tells."""
    spent = {cause: value for cause, value in attribution_ns.items() if value}
    whole = sum(spent.values())
    names = [CAUSES[cause] for cause in spent]
    traces = []
    for kind, colour in (("work", _WORK), ("waiting", _WAIT), ("nothing to do", _NOTHING)):
        chosen = [cause for cause in spent if _kind(cause) == kind]
        if chosen:
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": kind,
                    "y": [CAUSES[cause] for cause in chosen],
                    "x": [spent[cause] / whole for cause in chosen],
                    "text": [f"{spent[cause] / whole:.1%}" for cause in chosen],
                    "customdata": [format_duration(spent[cause] / 1e9) for cause in chosen],
                    "hovertemplate": "%{y}: %{text}, %{customdata}<extra></extra>",
                    "marker": {"color": colour},
                    "cliponaxis": False,
                }
            )
    layout = plot_layout("share of the time", "", height=70 + 30 * len(names))
    layout["barmode"] = "overlay"
    layout["showlegend"] = False
    layout["margin"] = {"l": 10, "r": 50, "t": 10, "b": 50}
    layout["xaxis"] = {"title": {"text": "share of the time"}, "tickformat": ".0%", "rangemode": "tozero"}
    layout["yaxis"] = {
        "automargin": True,
        "categoryorder": "array",
        "categoryarray": names[::-1],
        "tickfont": {"size": _LABEL_SIZE},
        "showgrid": False,
    }
    return plotted(traces, layout, "Where the time of the GPU stream goes, a bar for each cause")


def time_by_layer_plot(layers: Sequence[Mapping[str, int]]) -> str:
    """Draw the GPU stream's time by layer, divided by cause; nothing where there is none of it."""
    causes = [cause for cause in ATTRIBUTION if any(row.get(f"{cause}_ns", 0) for row in layers)]
    if not causes:
        return ""
    numbers = [row["layer"] for row in layers]
    unit, factor = duration_unit(sum(row[f"{cause}_ns"] for cause in causes) / 1e9 for row in layers)
    traces: list[Mapping[str, object]] = [
        {
            "type": "bar",
            "name": CAUSES[cause],
            "x": numbers,
            "y": [row[f"{cause}_ns"] / 1e9 * factor for row in layers],
            "marker": {"color": _OF_CAUSES[cause]},
            "hovertemplate": f"layer %{{x}}: {CAUSES[cause]} %{{y:.4g}} {unit}<extra></extra>",
        }
        for cause in causes
    ]
    layout = plot_layout("MoE layer", f"{unit} of the GPU stream", title="Time by layer", height=360 + 20 * len(causes))
    return plotted(traces, layout | {"barmode": "stack", "bargap": 0.05}, "Time of the GPU stream by layer and cause")


def time_by_class_plot(classes: Mapping[str, object]) -> str:
    """Draw what the time of a class's answered requests was spent on, a bar of means for each; nothing of no answers."""
    answered: dict[str, tuple[int, Mapping[str, int]]] = {}
    for name, found in classes.items():
        assert isinstance(found, Mapping)
        if found["finished"]:
            answered[name] = (found["finished"], found["stalls_ns"])
    causes = [cause for cause in _OF_CAUSES if any(stalls.get(cause, 0) for _, stalls in answered.values())]
    if not causes:
        return ""
    unit, factor = duration_unit(sum(stalls.values()) / count / 1e9 for count, stalls in answered.values())
    traces: list[Mapping[str, object]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": _name(cause),
            "y": list(answered),
            "x": [stalls.get(cause, 0) / count / 1e9 * factor for count, stalls in answered.values()],
            "marker": {"color": _OF_CAUSES[cause]},
            "hovertemplate": f"%{{y}}: {_name(cause)} %{{x:.4g}} {unit}<extra></extra>",
        }
        for cause in causes
    ]
    height = 130 + 34 * len(answered) + 20 * len(causes)
    layout = plot_layout(
        f"{unit} of a request, mean", "", title="Where the time of answered requests goes", height=height
    )
    layout["barmode"] = "stack"
    layout["yaxis"] = {"automargin": True, "autorange": "reversed", "type": "category", "showgrid": False}
    return plotted(traces, layout, "The mean time of answered requests by class, divided by cause")


def _name(cause: str) -> str:
    return _OF_REQUESTS.get(cause) or CAUSES[cause]


def _kind(cause: str) -> str:
    if cause == "idle":
        return "nothing to do"
    return "work" if cause in ATTRIBUTION[:NUM_WORK] else "waiting"
