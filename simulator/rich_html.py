"""What the terminal shows, as parts of a page: the same tables and the same text in their cells.

Limits: text in cells, captions and titles; no colours.
"""

import re
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from simulator.html_page import escaped, paragraph

_REMARK = re.compile(r"(?P<heading>[^:(]+)(?:: (?P<after>.+)| \((?P<within>[^()]+ [^()]+)\))", re.DOTALL)


def parts_of(shown: Sequence[RenderableType]) -> list[str]:
    """Return tables and texts as HTML; a table's title is its heading.

    What follows a colon, or stands as several words in brackets, in the title becomes a paragraph below the heading.
    Raises TypeError for what is neither table nor text.
    """
    parts = []
    for one in shown:
        if isinstance(one, Table):
            parts += [*_heading(str(one.title)), table_part(one)] if one.title else [table_part(one)]
        elif isinstance(one, Text):
            parts.append(paragraph(one.plain))
        else:
            raise TypeError(f"{type(one).__name__} cannot be shown on a page")
    return parts


def table_part(table: Table) -> str:
    """Return a table as HTML; one without headings has its first column for them."""
    kinds = ["" if column.justify == "right" else ' class="text"' for column in table.columns]
    rows = zip(*([_plain(cell) for cell in column.cells] for column in table.columns), strict=True)
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{escaped(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>\n"
        for row in rows
    )
    head = ""
    if table.show_header:
        headings = "".join(
            f"<th{kind}>{escaped(_plain(column.header))}</th>"
            for kind, column in zip(kinds, table.columns, strict=True)
        )
        head = f"<thead><tr>{headings}</tr></thead>"
    caption = paragraph(str(table.caption)) if table.caption else ""
    kind = "plain" if table.show_header else "pairs"
    return f'<div class="wide"><table class="{kind}">{head}<tbody>\n{body}</tbody></table></div>{caption}'


def _heading(title: str) -> list[str]:
    found = _REMARK.fullmatch(title)
    if found is None:
        return [f"<h2>{escaped(title)}</h2>"]
    more = found["after"] or found["within"]
    return [f"<h2>{escaped(found['heading'])}</h2>", paragraph(f"{more[0].upper()}{more[1:]}.")]


def _plain(cell: RenderableType) -> str:
    text = cell.plain if isinstance(cell, Text) else str(cell)
    return " ".join(text.split())
