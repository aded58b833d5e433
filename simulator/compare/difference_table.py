"""How the differences of a comparison's replications are told, on the terminal and on its page."""

from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE
from rich.table import Table

from simulator.compare.differences import verdict_of
from simulator.html_page import Cell
from simulator.replicate.table import title_of, written

DIFFERENCE_HEADINGS = ("system", "figure", "mean", "± (95 %)", "difference", "±", "relative", "verdict")
_OF_A_BATCH = ("tpot_mean_s",)
_OF_A_SERVICE = ("ttft_p99_s", "tpot_mean_s", "e2e_mean_s")
_PROMISED = ("goodput_requests_per_s",)
_ON_THE_PAGE = ("throughput_tokens_per_s", "hit_frac", "ttft_mean_s", "itl_p99_s", "queueing_mean_s", "in_slo_frac")


def render_differences(
    found: Mapping[str, object], rows: Sequence[Mapping[str, object]], *, is_promised: bool
) -> Table:
    """Lay out, system by system, the figures that matter most and whether they differ from the baseline's."""
    table = Table(
        title=f"Against {found['against']}, over {found['count']} replications; {found['how']}",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in DIFFERENCE_HEADINGS:
        is_text = heading in ("system", "figure", "verdict")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=is_text)
    for name, figure, one in _picked(found, rows, (*(_PROMISED if is_promised else ()), *_figures(found))):
        table.add_row(name, title_of(figure), *(text for _, text in _values(figure, one)))
    return table


def difference_cells(found: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> Sequence[Sequence[Cell]]:
    """Return the rows of the page's table, below `DIFFERENCE_HEADINGS`: more figures than on the terminal."""
    figures = (*_PROMISED, *_figures(found), *_ON_THE_PAGE)
    return [
        ((name, name), (figure, title_of(figure)), *_values(figure, one))
        for name, figure, one in _picked(found, rows, figures)
    ]


def _figures(found: Mapping[str, object]) -> Sequence[str]:
    first = next(iter(_mapping(found["systems"]).values()))
    return _OF_A_SERVICE if "queueing_mean_s" in _mapping(first) else _OF_A_BATCH


def _picked(
    found: Mapping[str, object], rows: Sequence[Mapping[str, object]], figures: Sequence[str]
) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Yield (system, figure, what is known of it) in the order of the comparison's rows."""
    systems = _mapping(found["systems"])
    for row in rows:
        of_system = _mapping(systems.get(str(row["system"]), {}))
        for figure in figures:
            if figure in of_system:
                yield str(row["system"]), figure, _mapping(of_system[figure])


def _values(figure: str, one: Mapping[str, object]) -> Sequence[tuple[object, str]]:
    means = [(one[key], written(figure, one[key])) for key in ("mean", "half_width")]
    if "difference" not in one:
        return (*means, *[("", "")] * 3, ("", "the baseline" if "values" in one else ""))
    difference = _mapping(one["difference"])
    relative = difference["relative"]
    return (
        *means,
        *((difference[key], written(figure, difference[key])) for key in ("mean", "half_width")),
        (relative, f"{relative:+.1%}" if isinstance(relative, float) else "-"),
        (difference["verdict"], verdict_of(difference)),
    )


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value
