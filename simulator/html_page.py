"""What self-contained HTML pages share: light and dark, plots that follow it, tables that sort.

Pages are laid out for a telephone as well as for a desk, and fetch nothing.
"""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8f98", "#b5a300", "#7b5bd6")
"""Source: Okabe and Ito, "Color Universal Design", 2008; black and yellow replaced, to be seen on white and on black; the
last is ours."""

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2330;--soft:#566072;--line:#d5dae3;--ground:#fff;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#a3adbd;--line:#38404d;--ground:#14181f;--bad:#ff8a80}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:1080px;margin:1.5rem auto;padding:0 1rem;color:var(--ink);
background:var(--ground)}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}p,dd,li{color:var(--soft)}dt{font-weight:600}
dd,summary{overflow-wrap:anywhere}.bad{color:var(--bad)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th button{all:unset;cursor:pointer;font-weight:600}
th button:focus-visible{outline:2px solid currentColor}td.bad{color:var(--bad)}
pre{overflow-x:auto;font-size:.8rem;border:1px solid var(--line);padding:.6rem}summary{cursor:pointer;margin:.3rem 0}
"""
_SCRIPT = """
const dark=matchMedia('(prefers-color-scheme: dark)');
function paint(){
  const ink=dark.matches?'#e6e9ef':'#1d2330',grid=dark.matches?'#38404d':'#e3e7ee';
  for(const plot of document.querySelectorAll('.plotly-graph-div')){
    const change={'font.color':ink};
    for(const key of Object.keys(plot.layout))if(/^[xy]axis/.test(key)){
      change[key+'.gridcolor']=grid;change[key+'.zerolinecolor']=grid;change[key+'.linecolor']=grid}
    Plotly.relayout(plot,change)}
}
dark.addEventListener('change',paint);addEventListener('load',paint);
for(const button of document.querySelectorAll('th button'))button.addEventListener('click',()=>{
  const cell=button.parentElement,column=cell.cellIndex,table=cell.closest('table'),body=table.tBodies[0];
  const down=cell.getAttribute('aria-sort')!=='descending';
  for(const other of table.tHead.rows[0].cells)other.removeAttribute('aria-sort');
  cell.setAttribute('aria-sort',down?'descending':'ascending');
  const of=row=>row.cells[column].dataset.value;
  const compare=(a,b)=>{const x=Number(of(a)),y=Number(of(b));
    return Number.isNaN(x)||Number.isNaN(y)?of(a).localeCompare(of(b)):x-y};
  [...body.rows].sort((a,b)=>(of(a)==='')-(of(b)==='')||(down?compare(b,a):compare(a,b))).forEach(row=>body.append(row));
});
"""

Cell = tuple[object, str] | tuple[object, str, str]
"""The value to sort by, the text, and optionally what is shown when the pointer rests on it."""


def html_page(title: str, parts: Sequence[str]) -> str:
    """Return a page of parts below its title."""
    body = "\n".join([f"<h1>{escaped(title)}</h1>", *parts])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>\n<body>\n'
        f"{body}\n<script>{_SCRIPT}</script>\n</body></html>\n"
    )


def drawn(figure: "Figure", index: int) -> str:
    """Return a plot as a part of a page; the first brings the script that draws them all."""
    from plotly.io import to_html

    part: str = to_html(
        figure,
        full_html=False,
        include_plotlyjs=index == 0,
        div_id=f"figure-{index}",
        config={"responsive": True, "displayModeBar": False},
    )
    return part


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
