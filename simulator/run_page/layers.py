"""What became of the experts that each layer asked for."""

from collections.abc import Mapping, Sequence

from hardware_profiles.quantity import format_bytes
from simulator.html_page import COLOURS, plot_layout, plotted
from simulator.run_page.units import bytes_unit

_OUTCOMES = {"hits": ("hits", COLOURS[2]), "late_hits": ("late hits", COLOURS[5]), "misses": ("misses", COLOURS[1])}


def outcomes_plot(layers: Sequence[Mapping[str, int]], expert_bytes: int) -> str:
    """Draw the shares of hits, late hits and misses by layer; nothing where no layer asked for any expert.

    The pointer tells counts, and how many bytes the missing experts have.
    """
    asked = [row for row in layers if row["accesses"]]
    if not asked:
        return ""
    traces: list[Mapping[str, object]] = [
        {
            "type": "bar",
            "name": name,
            "x": [row["layer"] for row in asked],
            "y": [row[key] / row["accesses"] for row in asked],
            "customdata": [
                f"{row[key]:,} {name} of {row['accesses']:,}"
                + (f", {format_bytes(row[key] * expert_bytes)}" if key != "hits" else "")
                for row in asked
            ],
            "hovertemplate": "layer %{x}: %{y:.1%}, %{customdata}<extra></extra>",
            "marker": {"color": colour},
        }
        for key, (name, colour) in _OUTCOMES.items()
    ]
    layout = plot_layout("MoE layer", "share of accesses", title="Experts by layer", height=380)
    layout |= {
        "barmode": "stack",
        "bargap": 0.05,
        "yaxis": {"tickformat": ".0%", "range": [0, 1], "automargin": True, "title": {"text": "share of accesses"}},
    }
    return plotted(traces, layout, "Shares of hits, late hits and misses by layer")


def missed_bytes_plot(layers: Sequence[Mapping[str, int]], expert_bytes: int) -> str:
    """Draw how many bytes of experts each layer found on their way, or missing; nothing where it found all."""
    wanted = [key for key in ("late_hits", "misses") if any(row[key] for row in layers)]
    if not wanted:
        return ""
    unit, factor = bytes_unit(row[key] * expert_bytes for row in layers for key in wanted)
    traces: list[Mapping[str, object]] = [
        {
            "type": "bar",
            "name": _OUTCOMES[key][0],
            "x": [row["layer"] for row in layers],
            "y": [row[key] * expert_bytes * factor for row in layers],
            "hovertemplate": f"layer %{{x}}: {_OUTCOMES[key][0]}, %{{y:.4g}} {unit}<extra></extra>",
            "marker": {"color": _OUTCOMES[key][1]},
        }
        for key in wanted
    ]
    layout = plot_layout("MoE layer", unit, title="Bytes that were not there, by layer", height=380)
    return plotted(traces, layout | {"barmode": "stack", "bargap": 0.05}, "Bytes of late hits and misses by layer")
