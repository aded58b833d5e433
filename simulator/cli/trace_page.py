"""The statistics of a trace as one self-contained HTML page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulator.html_page import COLOURS, blank_figure, drawn, html_page, paragraph
from traces.statistics.summary import Json, at

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def trace_page(statistics: dict[str, Json]) -> str:
    """Return the page: plots and the script that draws them, nothing to be fetched."""
    shape = "{tokens:,} tokens, {sequences:,} sequences, {layers} layers, top-{top_k} of {experts} experts"
    figures = [drawn(figure, index) for index, figure in enumerate(_figures(statistics))]
    told = paragraph(f"{statistics['path']}: {shape.format(**statistics)}")
    return html_page(f"Routing of {statistics['model']}", [told, *figures])


def _figures(statistics: dict[str, Json]) -> "list[Figure]":
    figures = [
        _hit_rates(statistics),
        _curve(
            statistics,
            "Overlap of two tokens",
            "lag (tokens)",
            "experts shared",
            "locality.lag_tokens",
            "locality.overlap_experts",
            reference=at(statistics, "locality.chance_overlap_experts"),
        ),
        _curve(
            statistics,
            "Union over successive tokens",
            "window (tokens)",
            "distinct experts",
            "windows.tokens",
            "windows.union_experts",
            reference=statistics["experts"],
        ),
        _curve(
            statistics,
            "Union over a batch",
            "batch (sequences)",
            "distinct experts",
            "batches.sequences",
            "batches.union_experts",
            reference=statistics["experts"],
        ),
        _curve(
            statistics,
            "Reuse within a sequence",
            "tokens since the last use",
            "share of accesses",
            "locality.reuse_tokens",
            "locality.reused_within_frac",
        ),
        _per_layer(statistics),
        _curve(
            statistics,
            "Lookahead recall",
            "distance (layers)",
            "share of experts guessed",
            "lookahead.distance_layers",
            "lookahead.recall_frac",
        ),
    ]
    return [figure for figure in figures if figure is not None]


def _hit_rates(statistics: dict[str, Json]) -> "Figure | None":
    from plotly.graph_objects import Scatter

    capacities, per_bank = at(statistics, "lru.capacity_experts_per_bank"), at(statistics, "lru.hit_rate_per_bank_frac")
    if not isinstance(per_bank, list):
        return None
    figure = blank_figure("capacity (experts)", "hit rate", title="LRU hit rate of a per-layer cache")
    for index, rates in enumerate(per_bank):
        figure.add_trace(
            Scatter(
                x=capacities,
                y=rates,
                mode="lines",
                line={"width": 0.7, "color": COLOURS[6]},
                name=f"layer {index}",
                showlegend=False,
            )
        )
    figure.add_trace(
        Scatter(
            x=capacities,
            y=at(statistics, "lru.hit_rate_frac"),
            mode="lines",
            line={"width": 2.5, "color": COLOURS[0]},
            name="mean",
        )
    )
    return figure


def _curve(
    statistics: dict[str, Json],
    title: str,
    x_title: str,
    y_title: str,
    x_path: str,
    y_path: str,
    *,
    reference: Json = None,
) -> "Figure | None":
    from plotly.graph_objects import Scatter

    x, y = at(statistics, x_path), at(statistics, y_path)
    if not isinstance(x, list) or not isinstance(y, list) or all(value is None for value in y):
        return None
    figure = blank_figure(x_title, y_title, title=title)
    figure.add_trace(Scatter(x=x, y=y, mode="lines+markers", line={"color": COLOURS[0]}, name="measured"))
    figure.update_xaxes(type="log", tickvals=x)
    if isinstance(reference, int | float):
        label = "all experts" if reference == statistics["experts"] else "by chance"
        figure.add_trace(
            Scatter(
                x=[x[0], x[-1]], y=[reference] * 2, mode="lines", line={"dash": "dot", "color": COLOURS[6]}, name=label
            )
        )
    figure.update_yaxes(rangemode="tozero")
    return figure


def _per_layer(statistics: dict[str, Json]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = blank_figure("layer", "value (experts, or 0 to 1)", title="Layer by layer")
    lines: Sequence[tuple[str, str]] = (
        ("adjacent overlap (experts)", "locality.adjacent_overlap_experts.per_layer"),
        ("popularity, Gini", "popularity.gini.per_layer"),
        ("drift between halves", "drift.between_halves_distance.per_layer"),
        ("affinity to the next layer (bits)", "affinity.mutual_information_bits.per_layer"),
    )
    for name, path in lines:
        y = at(statistics, path)
        if isinstance(y, list):
            figure.add_trace(Scatter(x=list(range(len(y))), y=y, mode="lines+markers", name=name))
    return figure
