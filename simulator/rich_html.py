"""What the terminal shows, as parts of a page: the same tables and the same text in their cells.

Limits: text in cells, captions and titles; no colours.
"""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from simulator.html_page import escaped, paragraph


def parts_of(shown: Sequence[RenderableType]) -> list[str]:
    """Return tables and texts as HTML; a table's title is its heading.

    What follows a colon, or stands in brackets, in the title becomes a paragraph below the heading. Raises TypeError for
    what is neither table nor text.
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
    rows = list(zip(*([_plain(cell) for cell in column.cells] for column in table.columns), strict=True))
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    head = ""
    if table.show_header:
        headings = "".join(f"<th>{escaped(_plain(column.header))}</th>" for column in table.columns)
        head = f"<thead><tr>{headings}</tr></thead>"
    caption = paragraph(str(table.caption)) if table.caption else ""
    kind = "plain" if table.show_header else "pairs"
    return f'<div class="wide"><table class="{kind}">{head}<tbody>\n{body}</tbody></table></div>{caption}'


def _heading(title: str) -> list[str]:
    cut = min((at for at in (title.find(": "), title.find(" (")) if at >= 0), default=len(title))
    heading, more = title[:cut], title[cut:]
    if more.startswith(" (") and more.endswith(")") and more.count("(") == 1:
        more = more[2:-1]
    more = more.removeprefix(": ").strip()
    return [f"<h2>{escaped(heading)}</h2>", *([paragraph(f"{more[0].upper()}{more[1:]}.")] if more else [])]


def _plain(cell: RenderableType) -> str:
    text = cell.plain if isinstance(cell, Text) else str(cell)
    return " ".join(text.split())
