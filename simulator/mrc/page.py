"""Miss-ratio curves as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hardware_profiles.quantity import format_bytes
from simulator.html_page import COLOURS, Cell, drawn, html_page, paragraph, sortable_table
from simulator.mrc.curves import LRU, Curve, ScopeCurves
from simulator.mrc.report import chosen_sizes, miss_frac, remarks, title_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_NAMES = {"per_layer": "per layer", "global": "global"}
_MANY_POINTS = 40


def curves_page(about: Mapping[str, object], found: Sequence[ScopeCurves], bytes_each: int | None) -> str:
    """Return the page: all policies over the size of the whole cache, the layers one by one, and the figures."""
    parts = [
        paragraph(
            "Lower is better. LRU stands at every size, other policies at those of the table; no time is simulated."
        ),
        drawn(_whole(found, bytes_each), 0),
    ]
    banks = next((scope for scope in found if len(scope.banks) > 0), None)
    if banks is not None:
        parts += [drawn(_by_bank(banks, bytes_each), 1), paragraph("LRU, for each layer's own slots.")]
    for scope in found:
        parts.append(f"<h2>Miss ratio, {_NAMES[scope.scope]}</h2>")
        parts += [paragraph(line) for line in remarks(scope, bytes_each)]
        headings = ["experts", "share", *(["cache"] if bytes_each else []), *(curve.policy for curve in scope.curves)]
        parts.append(sortable_table(headings, [_cells(scope, size, bytes_each) for size in chosen_sizes(scope)]))
    notes = about["notes"]
    assert isinstance(notes, list)
    parts += [paragraph(str(note)) for note in notes]
    return html_page(title_of(about), parts)


def _cells(scope: ScopeCurves, size: int, bytes_each: int | None) -> Sequence[Cell]:
    share = size / scope.num_experts
    ratios = [miss_frac(scope, curve, size) for curve in scope.curves]
    return (
        (size, f"{size:,}"),
        (share, f"{share:.1%}"),
        *([(size * bytes_each, format_bytes(size * bytes_each))] if bytes_each else []),
        *((ratio, "-" if ratio is None else f"{ratio:.2%}") for ratio in ratios),
    )


def _whole(found: Sequence[ScopeCurves], bytes_each: int | None) -> "Figure":
    """Draw every policy; buttons put experts, shares or bytes on the x axis."""
    from plotly.graph_objects import Figure, Scatter

    figure, axes = Figure(), list[list[Sequence[float]]]()
    policies = list(dict.fromkeys(curve.policy for scope in found for curve in scope.curves))
    for scope in found:
        for curve in scope.curves:
            figure.add_trace(
                Scatter(
                    x=list(curve.sizes),
                    y=_ratios(scope, curve),
                    mode="lines" if len(curve.sizes) > _MANY_POINTS else "lines+markers",
                    line={
                        "color": COLOURS[policies.index(curve.policy) % len(COLOURS)],
                        "dash": "solid" if scope.scope == "per_layer" else "dot",
                    },
                    name=f"{curve.policy}, {_NAMES[scope.scope]}",
                    text=_hovers(curve.sizes, scope.num_experts, bytes_each),
                    hovertemplate="%{text}<br>misses %{y:.2%}",
                )
            )
            axes.append(_axes(curve.sizes, scope.num_experts, bytes_each))
        lru = scope.curves[0]
        figure.add_trace(
            Scatter(
                x=list(scope.knees),
                y=[miss_frac(scope, lru, size) for size in scope.knees],
                mode="markers",
                marker={"symbol": "circle-open", "size": 12, "color": COLOURS[policies.index(LRU)]},
                name=f"knees of LRU, {_NAMES[scope.scope]}",
                text=_hovers(scope.knees, scope.num_experts, bytes_each),
                hovertemplate="knee: %{text}<br>misses %{y:.2%}",
            )
        )
        axes.append(_axes(scope.knees, scope.num_experts, bytes_each))
    titles = ["cache (experts)", "cache (share of all experts)", *(["cache (GiB)"] if bytes_each else [])]
    _layout(figure, "Miss ratio by cache size", titles[0])
    buttons = [
        {
            "label": label,
            "method": "update",
            "args": [{"x": [of[index] for of in axes]}, {"xaxis.title.text": titles[index]}],
        }
        for index, label in enumerate(("experts", "share", "bytes")[: len(titles)])
    ]
    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "buttons": buttons,
                "x": 1,
                "xanchor": "right",
                "y": 1.12,
                "font": {"color": "#1d2330"},
                "bgcolor": "#dfe3ea",
            }
        ]
    )
    return figure


def _by_bank(scope: ScopeCurves, bytes_each: int | None) -> "Figure":
    """Draw each bank's LRU curve over its own slots."""
    from plotly.colors import sample_colorscale
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    colours = sample_colorscale("Viridis", [at / max(1, len(scope.banks) - 1) * 0.9 for at in range(len(scope.banks))])
    for bank, colour in zip(scope.banks, colours, strict=True):
        slots = range(1, len(bank.hits))
        name = f"layer {', '.join(map(str, bank.layers))}"
        figure.add_trace(
            Scatter(
                x=list(slots),
                y=[1 - bank.hits[size] / bank.accesses for size in slots] if bank.accesses else [],
                mode="lines",
                line={"width": 1.2, "color": colour},
                name=name,
                text=_hovers(slots, len(slots), bytes_each),
                hovertemplate=f"{name}: %{{text}}<br>misses %{{y:.2%}}<extra></extra>",
            )
        )
    _layout(figure, "LRU, layer by layer", "slots of the layer (experts)")
    return figure


def _layout(figure: "Figure", title: str, x_title: str) -> None:
    figure.update_layout(
        title=title,
        height=460,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 20, "t": 70, "b": 50},
        xaxis_title=x_title,
        yaxis_title="miss ratio",
        legend={"orientation": "h", "y": -0.2},
    )
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")


def _ratios(scope: ScopeCurves, curve: Curve) -> list[float]:
    return [1 - hits / scope.accesses for hits in curve.hits] if scope.accesses else []


def _axes(sizes: Sequence[int], num_experts: int, bytes_each: int | None) -> list[Sequence[float]]:
    in_bytes = [[size * bytes_each / 2**30 for size in sizes]] if bytes_each else []
    return [list(sizes), [size / num_experts for size in sizes], *in_bytes]


def _hovers(sizes: Sequence[int], num_experts: int, bytes_each: int | None) -> list[str]:
    return [
        f"{size} experts, {size / num_experts:.1%}" + (f", {format_bytes(size * bytes_each)}" if bytes_each else "")
        for size in sizes
    ]
