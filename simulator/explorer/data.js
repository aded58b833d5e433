// The points: columns as they were packed, and what is asked of them again and again.
'use strict';

/** Return the page's data with numbers as typed arrays (NaN is missing) and columns to be found by name. */
function readData(text) {
  const data = JSON.parse(text);
  for (const metric of data.metrics) {
    metric.values = Float64Array.from(metric.values, value => (value === null ? NaN : value));
    metric.isAxis = false;
  }
  for (const axis of data.axes) {
    axis.told = axis.levels.map(level => (axis.kind === 'number' ? shown(level, axis.unit) : level));
    axis.values = axis.kind === 'number' ? Float64Array.from(axis.at, place => axis.levels[place]) : null;
  }
  data.metric = Object.fromEntries(data.metrics.map(metric => [metric.name, metric]));
  data.axis = Object.fromEntries(data.axes.map(axis => [axis.name, axis]));
  data.rowOfKey = new Map(data.key.map((key, row) => [key, row]));
  // Numbers that a front may be drawn over: metrics, and axes that are numbers.
  data.numbers = [
    ...data.metrics,
    ...data.axes.filter(axis => axis.kind === 'number').map(axis => ({ ...axis, less_is_better: true, isAxis: true })),
  ];
  data.number = Object.fromEntries(data.numbers.map(column => [column.name, column]));
  return data;
}

function commandOf(data, row) {
  return data.command.rows[row].map(place => data.command.words[place]).join(' ');
}

function textOf(column, row) {
  return column.levels[column.at[row]];
}

/**
 * Rows by their places on one or two axes: {row, rows, failed}. `row` is the middle one of those that have the metric (of an
 * even number, the lower), so that what is drawn is a point that was run, not a mean of several.
 */
function gathered(rows, metric, data, first, second) {
  const cells = new Map(), width = second ? second.levels.length : 1;
  for (const row of rows) {
    const place = first.at[row] * width + (second ? second.at[row] : 0);
    let cell = cells.get(place);
    if (!cell) cells.set(place, (cell = { place: [first.at[row], second ? second.at[row] : 0], rows: [], failed: [] }));
    if (data.failed[row]) cell.failed.push(row);
    else if (!Number.isNaN(metric.values[row])) cell.rows.push(row);
  }
  for (const cell of cells.values()) {
    cell.rows.sort((a, b) => metric.values[a] - metric.values[b] || a - b);
    cell.row = cell.rows.length ? cell.rows[(cell.rows.length - 1) >> 1] : null;
  }
  return cells;
}

/** Text as Plotly takes it: nothing in it is markup. */
function plain(text) {
  return String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** What rests beside the pointer: the point's place on all axes, and columns with their exact values. */
function hover(data, row, columns, more = '') {
  const place = data.axes.map(axis => `${plain(axis.label)} = ${plain(axis.told[axis.at[row]])}`).join('<br>');
  if (data.failed[row]) return `<b>failed</b>: ${plain(textOf(data.reason, row))}<br>${place}`;
  const told = columns.map(column => {
    const value = column.values[row];
    return `<b>${plain(column.label)}</b>: ${both(value, column.unit)}`;
  });
  return [...told, place, ...(more ? [more] : [])].join('<br>');
}
