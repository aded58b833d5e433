// Pareto fronts.
'use strict';

/**
 * The rows that no other beats in both columns, by rising x. `xLow` and `yLow` say whether less is better. Of rows that are
 * equal in both, the first stands for all; a row that lacks a value is on no front.
 */
function paretoFront(rows, x, y, xLow = true, yLow = true) {
  const a = row => (xLow ? x[row] : -x[row]), b = row => (yLow ? y[row] : -y[row]);
  const known = rows.filter(row => !Number.isNaN(x[row]) && !Number.isNaN(y[row]));
  known.sort((p, q) => a(p) - a(q) || b(p) - b(q) || p - q);
  const front = [];
  let best = Infinity;
  for (const row of known) if (b(row) < best) {
    front.push(row);
    best = b(row);
  }
  return xLow ? front : front.reverse();
}

/** Rows of which at most `limit` are left: one for each cell of a grid over the plot, as fine as that allows. */
function thinned(rows, x, y, limit) {
  if (rows.length <= limit) return rows;
  let lowX = Infinity, highX = -Infinity, lowY = Infinity, highY = -Infinity;
  for (const row of rows) {
    lowX = Math.min(lowX, x[row]); highX = Math.max(highX, x[row]);
    lowY = Math.min(lowY, y[row]); highY = Math.max(highY, y[row]);
  }
  for (let across = 256; ; across = Math.floor(across * 0.8)) {
    const down = Math.max(1, Math.floor(across * 0.6)), seen = new Set(), left = [];
    for (const row of rows) {
      const column = Math.floor((across * (x[row] - lowX)) / (highX - lowX || 1));
      const line = Math.floor((down * (y[row] - lowY)) / (highY - lowY || 1));
      const cell = column * (down + 1) + line;
      if (!seen.has(cell)) { seen.add(cell); left.push(row); }
    }
    if (left.length <= limit || across <= 2) return left.slice(0, limit);
  }
}
