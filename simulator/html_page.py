"""What self-contained HTML pages share: light and dark, plots that follow it, tables that sort.

Pages are laid out for a telephone as well as for a desk, and fetch nothing.
"""

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8f98", "#b5a300", "#7b5bd6")
"""Source: Okabe and Ito, "Color Universal Design", 2008; black and yellow replaced, to be seen on white and on black; the
last is ours."""

_THEME = (
    '<select id="theme" class="theme" aria-label="Colours"><option value="">as the system</option>'
    '<option value="light">light</option><option value="dark">dark</option></select>'
)

Cell = tuple[object, str] | tuple[object, str, str]
"""The value to sort by, the text, and optionally what is shown when the pointer rests on it."""


def html_page(title: str, parts: Sequence[str]) -> str:
    """Return a page of parts below its title."""
    script = f"<script>{web_file('theme.js')}{web_file('page.js')}</script>"
    return _page(title, parts, style="", scripts=script, script_policy="'unsafe-inline'")


def packed_page(
    title: str, parts: Sequence[str], *, style: str, script: str, library: str, data: Mapping[str, object]
) -> str:
    """Return a page whose script draws it, with a library and the data that it needs, both compressed.

    The page's policy admits these two scripts by their digests and no other. `script` finds `unpacked("data")` and
    `runLibrary()`, of `web/packed.js`.
    """
    script = f"{web_file('packed.js')}{script}"
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    scripts = (
        f'<script type="application/gzip" id="library">{_packed(library)}</script>\n'
        f'<script type="application/gzip" id="data">{_packed(text)}</script>\n<script>{script}</script>'
    )
    return _page(title, parts, style=style, scripts=scripts, script_policy=f"{_digest(library)} {_digest(script)}")


def web_file(name: str) -> str:
    """Return a style or script that pages share."""
    return (files("simulator") / "web" / name).read_text("utf-8")


def _page(title: str, parts: Sequence[str], *, style: str, scripts: str, script_policy: str) -> str:
    """Return a page that may load nothing: no address, no frame, no form."""
    policy = (
        f"default-src 'none'; script-src {script_policy}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    body = "\n".join([f'<header class="top"><h1>{escaped(title)}</h1>{_THEME}</header>', *parts])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<link rel="icon" href="data:,">\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<style>{web_file('page.css')}{style}</style></head>\n<body>\n{body}\n{scripts}\n</body></html>\n"
    )


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def blank_figure(x_title: str, y_title: str, *, title: str = "", height: int = 420) -> "Figure":
    """Return a plot without traces, transparent, with a legend below it; the page's script colours its text and grid."""
    from plotly.graph_objects import Figure

    figure = Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        colorway=COLOURS,
        title={"text": title, "x": 0, "xanchor": "left", "font": {"size": 16}},
        height=height,
        margin={"l": 60, "r": 20, "t": 45 if title else 20, "b": 50},
        xaxis={"title": {"text": x_title}, "automargin": True},
        yaxis={"title": {"text": y_title}, "automargin": True},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
    )
    return figure


def drawn(figure: "Figure", index: int, *, min_width: int = 0) -> str:
    """Return a plot as a part of a page; the first brings the script that draws them all.

    A plot that cannot be read below `min_width` pixels scrolls in its own place on a narrower screen.
    """
    from plotly.io import to_html

    part: str = to_html(
        figure,
        full_html=False,
        include_plotlyjs=index == 0,
        div_id=f"figure-{index}",
        config={"responsive": True, "displayModeBar": False},
    )
    if not min_width:
        return part
    return f'<div class="wide" tabindex="0"><div style="min-width:{min_width}px">{part}</div></div>'


def sortable_table(headings: Sequence[str], cells: Sequence[Sequence[Cell]]) -> str:
    """Return a table whose headings sort it; empty values stay at the end."""
    head = "".join(f'<th><button type="button">{escaped(heading)}</button></th>' for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in cells)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def details(summary: str, inner: str) -> str:
    """Return a part that opens when its summary is clicked; `inner` is HTML."""
    return f"<details><summary>{escaped(summary)}</summary>{inner}</details>"


def listed(texts: Sequence[str]) -> str:
    """Return a list of texts."""
    return "<ul>" + "".join(f"<li>{escaped(text)}</li>" for text in texts) + "</ul>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escaped(text)}</p>"


def escaped(value: object) -> str:
    """Return a value as text that HTML takes for nothing else."""
    return html.escape(str(value))


def _cell(cell: Cell) -> str:
    value, shown, *more = cell
    title = f' title="{escaped(more[0])}"' if more and more[0] else ""
    return f'<td data-value="{escaped("" if value is None else value)}"{title}>{escaped(shown)}</td>'
