"""The quantities of a service over time, as the summary's `service.over_time` has them."""

from collections.abc import Mapping, Sequence

from simulator.html_page import COLOURS, plot_layout, plotted
from simulator.run_page.units import bytes_unit

_HEIGHT = 270


def over_time_plots(over_time: Mapping[str, object]) -> list[str]:
    """Draw requests, tokens per second, busy shares, KV cache and expert slots; nothing of a service that did nothing."""
    bin_s = over_time["bin_s"]
    assert isinstance(bin_s, float)

    def of(key: str, factor: float = 1.0) -> list[float]:
        values = over_time[key]
        assert isinstance(values, Sequence)
        return [value * factor for value in values]

    if not of("running"):
        return []
    unit, of_byte = bytes_unit(of("kv_bytes"))
    drawn: Sequence[tuple[str, str, Mapping[str, list[float]]]] = (
        ("Requests", "requests", {"running": of("running"), "in the queue": of("waiting")}),
        ("Throughput", "tokens/s", {"output tokens": of("tokens_per_s")}),
        ("Busy", "share", {"GPU": of("gpu_busy_frac"), "H2D link": of("h2d_busy_frac")}),
        ("KV cache", unit, {"KV cache": of("kv_bytes", of_byte)}),
        ("Expert slots", "experts", {"slots": of("expert_slots")}),
    )
    return [_plot(title, y_title, bin_s, lines) for title, y_title, lines in drawn]


def _plot(title: str, y_title: str, bin_s: float, lines: Mapping[str, list[float]]) -> str:
    traces: list[Mapping[str, object]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": [at * bin_s for at in range(len(values) + 1)],
            "y": [*values, values[-1]],
            "line": {"shape": "hv", "color": colour, "width": 1.5},
            "hovertemplate": f"%{{x:.4g}} s: %{{y:.4g}} {y_title}<extra>{name}</extra>",
        }
        for (name, values), colour in zip(lines.items(), COLOURS, strict=False)
    ]
    layout = plot_layout("time (s)", y_title, title=title, height=_HEIGHT + 20 * (len(lines) > 1))
    y_axis: dict[str, object] = {"title": {"text": y_title}, "rangemode": "tozero", "automargin": True}
    if y_title == "share":
        y_axis |= {"tickformat": ".0%"}
    layout |= {
        "showlegend": len(lines) > 1,
        "title": {"text": title, "x": 0, "xanchor": "left", "font": {"size": 14}},
        "yaxis": y_axis,
    }
    return plotted(traces, layout, f"{title} over time, in {y_title}")
