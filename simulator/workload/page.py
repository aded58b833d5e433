"""A workload as one self-contained HTML page: arrivals and tokens over time, and how long requests are."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from simulator.html_page import COLOURS, blank_figure, drawn, html_page, paragraph
from simulator.workload.survey import NS_PER_S, Survey

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_BINS_PER_OCTAVE = 4


def workload_page(title: str, survey: Survey, lines: Sequence[str], *, has_times: bool = True) -> str:
    """Return the page; `lines` stand below its title. Without times there are lengths alone."""
    figures = [
        *([_arrivals(survey), _tokens(survey)] if has_times else []),
        _lengths("Length of prompts and outputs", survey),
    ]
    return html_page(title, [*map(paragraph, lines), *(drawn(figure, index) for index, figure in enumerate(figures))])


def length_shares(counts: Counter[int]) -> tuple[list[int], list[float]]:
    """Return bins of lengths, four to a doubling, by their edges, and the share of requests in each."""
    edges = sorted({round(2 ** (power / _BINS_PER_OCTAVE)) for power in range(31 * _BINS_PER_OCTAVE)})
    low, high = min(counts), max(counts)
    edges = [edge for edge, following in pairwise(edges) if following > low and edge <= high]
    edges.append(max(high + 1, edges[-1] + 1))
    shares = [0] * (len(edges) - 1)
    place = 0
    for length in sorted(counts):
        while length >= edges[place + 1]:
            place += 1
        shares[place] += counts[length]
    total = sum(shares)
    return edges, [share / total for share in shares]


def _arrivals(survey: Survey) -> "Figure":
    course = survey.course
    bin_s = course.bin_ns / NS_PER_S
    return _over_time("Arrivals", "requests/s", bin_s, {"requests": [count / bin_s for count in course.requests]})


def _tokens(survey: Survey) -> "Figure":
    course = survey.course
    bin_s = course.bin_ns / NS_PER_S
    tokens = {"prompt": course.prompt_tokens, "output": course.output_tokens}
    rates = {name: [count / bin_s for count in counts] for name, counts in tokens.items()}
    return _over_time("Tokens asked for", "tokens/s", bin_s, rates)


def _over_time(title: str, y_title: str, bin_s: float, lines: dict[str, list[float]]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = blank_figure("time (s)", y_title, title=f"{title} (in steps of {bin_s:g} s)", height=380)
    for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
        times = [index * bin_s for index in range(len(values) + 1)]
        line = {"shape": "hv", "color": colour, "width": 1.5}
        figure.add_trace(
            Scatter(x=times, y=[*values, *values[-1:]], mode="lines", line=line, name=name, showlegend=len(lines) > 1)
        )
    figure.update_yaxes(rangemode="tozero")
    return figure


def _lengths(title: str, survey: Survey) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = blank_figure("tokens", "share of requests per bin", title=title, height=380)
    lengths = {"prompt": survey.prompt_tokens, "output": survey.output_tokens}
    for (name, counts), colour in zip(lengths.items(), COLOURS, strict=False):
        edges, shares = length_shares(counts)
        line = {"shape": "hv", "color": colour, "width": 1.5}
        figure.add_trace(Scatter(x=edges, y=[*shares, shares[-1]], mode="lines", line=line, name=name, fill="tozeroy"))
    figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(rangemode="tozero", tickformat=".0%")
    return figure
