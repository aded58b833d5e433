// What plots share: how lines look, what stands along a plot's edges, what a middle point is taken over.
'use strict';

const DASHES = ['solid', 'dash', 'dot', 'dashdot'];
const SYMBOLS = ['circle', 'square', 'diamond', 'triangle-up', 'cross', 'star', 'pentagon', 'triangle-down'];

function lookOf(data, place) {
  const count = data.colours.length, round = Math.floor(place / count);
  return { color: data.colours[place % count], dash: DASHES[round % DASHES.length], symbol: SYMBOLS[round % SYMBOLS.length] };
}

/** A colour half seen through: faster to draw than a mark with an opacity. */
function pale(colour) {
  return `${colour}70`;
}

/** An axis of the data along a plot's edge: `at(place)` and what Plotly is told. Few numbers are ticks; wide spans are logs. */
function edge(axis) {
  if (axis.kind === 'category') {
    const places = axis.levels.map((_, place) => place);
    return {
      at: place => place,
      layout: { title: { text: plain(axis.label) }, tickvals: places, ticktext: axis.told.map(plain), type: 'linear',
        range: [-0.5, axis.levels.length - 0.5] },
    };
  }
  const scale = scaleOf(axis.levels, axis.unit), values = axis.levels.map(level => level / scale.factor);
  const log = values[0] > 0 && values[values.length - 1] / values[0] >= 32;
  const layout = { title: { text: plain(headed(axis.label, scale)) }, type: log ? 'log' : 'linear', autorange: true };
  if (values.length <= 10) {
    layout.tickvals = values;
    layout.ticktext = values.map(value => String(Number(value.toPrecision(4))));
  }
  return { at: place => values[place], layout };
}

/** A column of numbers along a plot's edge: `at(row)`, the `factor` between its unit and the one drawn, and what Plotly is told. */
function measure(column, rows, log) {
  const scale = scaleOf(rows.map(row => column.values[row]), column.unit);
  return {
    at: row => column.values[row] / scale.factor,
    factor: scale.factor,
    layout: { title: { text: plain(headed(column.label, scale)) }, type: log ? 'log' : 'linear', autorange: true,
      ...(log ? {} : { rangemode: 'tozero' }) },
  };
}

function knownOf(rows, ...columns) {
  return rows.filter(row => columns.every(column => !Number.isNaN(column.values[row])));
}

/** What the middle is taken over: axes of which several levels are shown and which the plot does not tell apart. */
function restOf(data, rows, told) {
  return data.axes.filter(axis => !told.includes(axis) && rows.some(row => axis.at[row] !== axis.at[rows[0]]));
}

function middleOf(rest) {
  if (!rest.length) return '';
  return `The middle point over ${rest.map(axis => axis.label).join(', ')}; choose one of each to see it alone.`;
}

function ring(data, state, x, y) {
  const row = data.rowOfKey.get(state.at);
  const known = row !== undefined && !Number.isNaN(x(row)) && !Number.isNaN(y(row));
  return {
    x: known ? [x(row)] : [], y: known ? [y(row)] : [], mode: 'markers', hoverinfo: 'skip', showlegend: false, name: 'chosen',
    marker: { size: 16, symbol: 'circle-open', line: { width: 3 }, color: plotInk().ink },
  };
}
