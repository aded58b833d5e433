"""What the terminal shows, as HTML for a notebook: the same tables and texts, cell by cell, all of it escaped."""

import html
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_RIGHT = ' style="text-align:right"'
_LEFT = ' style="text-align:left"'


def shown(part: RenderableType) -> str:
    """Return a report of the terminal as HTML. Raises TypeError for parts that no report of moesim has."""
    return f'<div class="moesim">{"".join(_parts(part))}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = "") -> str:
    """Return a table; numbers are to the right."""
    head = "".join(f"<th{_LEFT}>{_escaped(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr>{''.join(_cell(_escaped(value), is_right=_is_number(value)) for value in row)}</tr>" for row in rows
    )
    return f"<table>{_caption(caption)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """Return a text by itself."""
    return f"<p>{_escaped(text)}</p>"


def _parts(part: RenderableType) -> Iterator[str]:
    if isinstance(part, Group):
        for inner in part.renderables:
            yield from _parts(inner)
    elif isinstance(part, Table):
        yield _laid_out(part)
    elif isinstance(part, Text | str):
        yield paragraph(_plain(part))
    else:
        raise TypeError(f"{type(part).__name__} has no form in HTML")


def _laid_out(part: Table) -> str:
    """Return a table of the terminal, its columns to the side where they are there."""
    columns = [[_escaped(_plain(cell)) for cell in column.cells] for column in part.columns]
    is_right = [column.justify == "right" for column in part.columns]
    rows = "".join(
        f"<tr>{''.join(_cell(cell, is_right=right) for cell, right in zip(cells, is_right, strict=True))}</tr>"
        for cells in zip(*columns, strict=True)
    )
    head = ""
    if part.show_header:
        head = "".join(
            f"<th{_RIGHT if right else _LEFT}>{_escaped(_plain(column.header))}</th>"
            for column, right in zip(part.columns, is_right, strict=True)
        )
        head = f"<thead><tr>{head}</tr></thead>"
    title = "" if part.title is None else _plain(part.title)
    below = "" if part.caption is None else paragraph(_plain(part.caption))
    return f"<table>{_caption(title)}{head}<tbody>{rows}</tbody></table>{below}"


def _plain(cell: RenderableType) -> str:
    """Return a cell as the terminal shows it, without its colours."""
    if isinstance(cell, Text):
        return cell.plain
    if isinstance(cell, str):
        return Text.from_markup(cell).plain
    raise TypeError(f"a cell with {type(cell).__name__} has no form in HTML")


def _caption(text: str) -> str:
    return f'<caption style="text-align:left">{_escaped(text)}</caption>' if text else ""


def _cell(escaped: str, *, is_right: bool) -> str:
    return f"<td{_RIGHT if is_right else _LEFT}>{escaped}</td>"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _escaped(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return html.escape(text)
