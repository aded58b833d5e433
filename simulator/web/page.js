// Plots that Python laid out follow the theme; tables with buttons in their headings sort.
'use strict';

function paint() {
  const { ink, grid } = plotInk();
  for (const plot of document.querySelectorAll('.plotly-graph-div')) {
    if (!plot.layout) continue;
    const change = { 'font.color': ink };
    for (const key of Object.keys(plot.layout)) if (/^[xy]axis/.test(key)) {
      for (const line of ['gridcolor', 'zerolinecolor', 'linecolor']) change[`${key}.${line}`] = grid;
    }
    Plotly.relayout(plot, change);
  }
}
document.addEventListener('theme', paint);
addEventListener('load', paint);

for (const button of document.querySelectorAll('th button')) button.addEventListener('click', () => {
  const cell = button.parentElement, column = cell.cellIndex, table = cell.closest('table'), body = table.tBodies[0];
  const down = cell.getAttribute('aria-sort') !== 'descending';
  for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
  cell.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const of = row => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const x = Number(of(a)), y = Number(of(b));
    return Number.isNaN(x) || Number.isNaN(y) ? of(a).localeCompare(of(b)) : x - y;
  };
  [...body.rows]
    .sort((a, b) => (of(a) === '') - (of(b) === '') || (down ? compare(b, a) : compare(a, b)))
    .forEach(row => body.append(row));
});
