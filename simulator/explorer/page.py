"""A sweep as one self-contained HTML page, to be explored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files

from simulator.explorer.columns import columns_of
from simulator.html_page import COLOURS, escaped, packed_page, paragraph, web_file

_SCRIPTS = ("data", "state", "controls", "edges", "plots", "table", "explorer")
_PLOTS = {
    "lines": "Lines",
    "heat": "Map",
    "front": "Front",
    "causes": "Where the time goes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a page starts with, where it is not to choose, by the names in `state.js`; and limits to be drawn."""

    start: Mapping[str, object] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)


def explorer_page(
    rows: Sequence[Mapping[str, object]],
    *,
    axes: Sequence[str],
    title: str,
    notes: Sequence[str] = (),
    view: View | None = None,
) -> str:
    """Return a page of a sweep's points: linked plots, a table, and the command that reproduces each point.

    `rows` has one mapping per point: the value of each of `axes`, metrics with units in their names (nested ones, as in a
    run's summary, are taken apart), and, where there are any, `status` ("ok", or what became of it), `reason`, `command` and
    `key`. `notes` are paragraphs below the title, such as what was simulated on which machine; `view` is what it
    starts with.

    The page holds all it needs and asks for nothing else; its content policy forbids it to. Raises InputError if there are
    no rows or no axes, or an axis is in none of the rows.
    """
    from plotly.offline import get_plotlyjs

    data = {"title": title, "colours": COLOURS, **asdict(view or View()), **columns_of(rows, axes)}
    own = files("simulator") / "explorer"
    scripts = [web_file("theme.js"), web_file("units.js"), web_file("front.js")]
    scripts += [(own / f"{name}.js").read_text("utf-8") for name in _SCRIPTS]
    return packed_page(
        title,
        [*map(paragraph, notes), _BODY],
        style=(own / "explorer.css").read_text("utf-8"),
        script="\n".join(scripts),
        library=get_plotlyjs(),
        data=data,
    )


def _plot(name: str, heading: str) -> str:
    return (
        f'<figure class="card" id="card-{name}"><h2>{escaped(heading)}</h2><div class="choices" id="choices-{name}"></div>'
        f'<div class="plot" id="{name}" role="img"></div><figcaption id="caption-{name}"></figcaption></figure>'
    )


_BODY = f"""
<p id="counts" role="status"></p>
<form id="view" aria-label="What is shown"></form>
<details id="filters" open><summary>Points shown</summary><form id="axes" aria-label="Points shown"></form></details>
<main>
<div class="cards">
{"".join(_plot(name, heading) for name, heading in _PLOTS.items())}
</div>
<section id="point" aria-label="The chosen point" aria-live="polite"></section>
<section id="rows" aria-label="All points"></section>
</main>
<noscript><p class="bad">The plots are drawn by scripts that are part of this page; they are switched off.</p></noscript>
"""
