// The four plots. Each function returns {traces, layout, caption}; rows travel as customdata, so that a click names a point.
'use strict';

const MOST_MARKS = 500; // what SVG redraws at once; of more, those that lie on others are left out
const MOST_LINES = 60;

function drawLines(data, state, rows) {
  const metric = data.metric[state.metric], along = data.axis[state.along];
  const by = state.by && state.by !== state.along ? data.axis[state.by] : null;
  const known = knownOf(rows, metric), x = edge(along), y = measure(metric, known, state.log);
  const cells = [...gathered(rows, metric, data, along, by).values()].sort((a, b) => a.place[0] - b.place[0]);
  const rest = restOf(data, rows, [along, by]), traces = [];
  const levels = [...new Set(cells.map(cell => cell.place[1]))].sort((a, b) => a - b);
  if (rest.length) {
    const middles = new Set(cells.map(cell => cell.row));
    const cloud = thinned(known.filter(row => !middles.has(row)), along.at, metric.values, MOST_MARKS);
    traces.push({
      x: cloud.map(row => x.at(along.at[row])), y: cloud.map(y.at), customdata: cloud, mode: 'markers', showlegend: false,
      name: 'points', text: cloud.map(row => hover(data, row, [metric])), hoverinfo: 'text',
      marker: { size: 4, color: by ? cloud.map(row => pale(lookOf(data, by.at[row]).color)) : pale(data.colours[0]) },
    });
  }
  for (const level of levels.slice(0, MOST_LINES)) {
    const look = lookOf(data, level), line = cells.filter(cell => cell.place[1] === level && cell.row !== null);
    if (!line.length) continue;
    const more = cell => (cell.rows.length > 1
      ? `the middle of ${cell.rows.length}: ${shown(metric.values[cell.rows[0]], metric.unit)} to ` +
        `${shown(metric.values[cell.rows[cell.rows.length - 1]], metric.unit)}` : '');
    traces.push({
      x: line.map(cell => x.at(cell.place[0])), y: line.map(cell => y.at(cell.row)), customdata: line.map(cell => cell.row),
      text: line.map(cell => hover(data, cell.row, [metric], more(cell))), hoverinfo: 'text',
      mode: along.kind === 'category' ? 'markers' : 'lines+markers', name: by ? plain(by.told[level]) : plain(metric.label),
      showlegend: Boolean(by), line: { color: look.color, dash: look.dash, width: 2 },
      marker: { color: look.color, symbol: look.symbol, size: along.kind === 'category' ? 10 : 7 },
    });
  }
  const failed = thinned(rows.filter(row => data.failed[row]), along.at, data.failed, 200);
  traces.push({
    x: failed.map(row => x.at(along.at[row])), y: failed.map(() => 0), yaxis: 'y2', customdata: failed, mode: 'markers',
    name: 'failed', text: failed.map(row => hover(data, row, [])), hoverinfo: 'text', showlegend: failed.length > 0,
    marker: { symbol: 'x', size: 9, color: isDark() ? '#ff8a80' : '#b3261e' }, cliponaxis: false,
  });
  traces.push(ring(data, state, row => x.at(along.at[row]), y.at));
  const left = levels.length > MOST_LINES ? ` ${levels.length - MOST_LINES} more lines are not drawn.` : '';
  return {
    traces, caption: `${middleOf(rest)}${left}`,
    layout: { xaxis: x.layout, yaxis: y.layout, shapes: limitOf(data, metric, y.factor), yaxis2: { overlaying: 'y', range: [0, 1], visible: false, fixedrange: true } },
  };
}

/** The line that a metric is not to cross, where the page has one for it; `factor` is what a drawn unit is worth. */
function limitOf(data, metric, factor) {
  const limit = data.limits[metric.name];
  if (limit === undefined) return [];
  return [{ type: 'line', xref: 'paper', x0: 0, x1: 1, y0: limit / factor, y1: limit / factor,
    line: { color: plotInk().soft, width: 1.5, dash: 'dash' }, label: { text: 'promised', textposition: 'end' } }];
}

function drawHeat(data, state, rows) {
  const metric = data.metric[state.metric], across = data.axis[state.across], down = data.axis[state.down];
  if (across === down) return { traces: [], layout: {}, caption: 'Choose two different axes.' };
  const scale = scaleOf(rows.map(row => metric.values[row]), metric.unit);
  const cells = [...gathered(rows, metric, data, across, down).values()];
  const [columns, lines] = [0, 1].map(side => [...new Set(cells.map(cell => cell.place[side]))].sort((a, b) => a - b));
  const z = lines.map(() => columns.map(() => null)), text = lines.map(() => columns.map(() => ''));
  const told = lines.map(() => columns.map(() => '')), points = lines.map(() => columns.map(() => null)), failed = [];
  const digits = value => String(Number((value / scale.factor).toPrecision(3)));
  for (const cell of cells) {
    const column = columns.indexOf(cell.place[0]), line = lines.indexOf(cell.place[1]);
    if (cell.row === null) {
      if (cell.failed.length) failed.push([column, line, cell.failed[0]]);
      continue;
    }
    z[line][column] = metric.values[cell.row] / scale.factor;
    told[line][column] = digits(metric.values[cell.row]);
    text[line][column] = hover(data, cell.row, [metric], cell.rows.length > 1 ? `the middle of ${cell.rows.length}` : '');
    points[line][column] = cell.row;
  }
  const ticks = (axis, places) => ({ title: { text: plain(axis.label) }, tickvals: places.map((_, place) => place),
    ticktext: places.map(place => plain(axis.told[place])), type: 'linear', showgrid: false, zeroline: false,
    range: [-0.5, places.length - 0.5] });
  const fits = columns.length <= 8 && lines.length <= 24;
  return {
    traces: [
      { type: 'heatmap', z, text: fits ? told : undefined, texttemplate: fits ? '%{text}' : undefined, hovertext: text,
        hoverinfo: 'text', customdata: points, colorscale: 'Cividis', reversescale: metric.less_is_better, xgap: 1, ygap: 1,
        hoverongaps: false, colorbar: { title: { text: plain(headed(metric.label, scale)), side: 'right' }, thickness: 12 } },
      { x: failed.map(cell => cell[0]), y: failed.map(cell => cell[1]), customdata: failed.map(cell => cell[2]), mode: 'markers',
        text: failed.map(cell => hover(data, cell[2], [])), hoverinfo: 'text', showlegend: false, name: 'failed',
        marker: { symbol: 'x', size: 10, color: isDark() ? '#ff8a80' : '#b3261e' } },
      ring(data, state, row => columns.indexOf(across.at[row]), row => lines.indexOf(down.at[row])),
    ],
    layout: { xaxis: ticks(across, columns), yaxis: ticks(down, lines) },
    caption: `Bright is ${metric.less_is_better ? 'low' : 'high'}: better. ${middleOf(restOf(data, rows, [across, down]))}`,
  };
}

function drawFront(data, state, rows) {
  const x = data.number[state.x], y = data.number[state.y];
  const known = knownOf(rows.filter(row => !data.failed[row]), x, y);
  const front = paretoFront(known, x.values, y.values, x.less_is_better, y.less_is_better), onFront = new Set(front);
  const others = thinned(known.filter(row => !onFront.has(row)), x.values, y.values, MOST_MARKS);
  const [xEdge, yEdge] = [measure(x, known, false), measure(y, known, state.log)];
  const by = state.by ? data.axis[state.by] : null;
  const text = row => hover(data, row, x === y ? [x] : [y, x]);
  const left = known.length - front.length - others.length;
  const better = column => `${column.less_is_better ? 'less' : 'more'} ${column.label}`;
  return {
    traces: [
      { x: others.map(xEdge.at), y: others.map(yEdge.at), customdata: others, mode: 'markers', text: others.map(text),
        hoverinfo: 'text', name: 'beaten',
        marker: { size: 5, color: by ? others.map(row => pale(lookOf(data, by.at[row]).color)) : pale(data.colours[6]) } },
      { x: front.map(xEdge.at), y: front.map(yEdge.at), customdata: front, mode: 'lines+markers', text: front.map(text),
        hoverinfo: 'text', name: 'front', line: { shape: x.less_is_better === y.less_is_better ? 'hv' : 'vh', width: 1.5,
          color: plotInk().soft }, marker: { size: 10, line: { width: 1.5, color: plotInk().ink },
          color: by ? front.map(row => lookOf(data, by.at[row]).color) : data.colours[0] } },
      ring(data, state, xEdge.at, yEdge.at),
    ],
    layout: { xaxis: xEdge.layout, yaxis: yEdge.layout, shapes: limitOf(data, y, yEdge.factor), showlegend: false },
    caption: `${front.length} of ${known.length} points are beaten by none in both (${better(x)} and ${better(y)} are better)` +
      `${by ? `; colours as the lines of ${by.label}` : ''}.${left > 0 ? ` ${left} that lie on others are not drawn.` : ''}`,
  };
}

function drawCauses(data, state, rows) {
  const metric = data.metric[state.metric], along = data.axis[state.along];
  const by = state.by && state.by !== state.along ? data.axis[state.by] : null;
  const levels = by ? [...new Set(rows.map(row => by.at[row]))].sort((a, b) => a - b) : [];
  const line = by ? Math.max(0, levels.findIndex(level => String(by.levels[level]) === state.line)) : 0;
  const select = document.getElementById('choose-line');
  select.replaceChildren(...levels.map(level => element('option', { value: by.levels[level], textContent: by.told[level] })));
  select.selectedIndex = levels.length ? line : -1;
  select.parentElement.hidden = !by;
  const kept = by ? rows.filter(row => by.at[row] === levels[line]) : rows;
  const cells = [...gathered(kept, metric, data, along, null).values()].filter(cell => cell.row !== null);
  cells.sort((a, b) => a.place[0] - b.place[0]);
  const tokens = data.metric.tokens, perToken = tokens && cells.every(cell => tokens.values[cell.row] > 0);
  const unit = data.attribution.length ? data.metric[data.attribution[0].name].unit : '';
  const part = (cause, cell) => data.metric[cause.name].values[cell.row] / (perToken ? tokens.values[cell.row] : 1);
  const whole = cell => data.attribution.reduce((sum, cause) => sum + (part(cause, cell) || 0), 0);
  const scale = scaleOf(cells.map(whole), unit);
  const traces = data.attribution.map((cause, place) => ({ cause, place }))
    .filter(({ cause }) => cells.some(cell => part(cause, cell) > 0))
    .map(({ cause, place }) => ({
      type: 'bar', x: cells.map((_, column) => column), y: cells.map(cell => part(cause, cell) / scale.factor),
      customdata: cells.map(cell => cell.row), name: cause.label, hoverinfo: 'text', textposition: 'none',
      text: cells.map(cell => `<b>${cause.label}: ${shown(part(cause, cell), unit)}</b>${perToken ? ' per token' : ''}, ` +
        `${shown(part(cause, cell) / whole(cell), 'frac')} of the time<br>${hover(data, cell.row, [metric])}`),
      marker: { color: data.colours[place % data.colours.length],
        pattern: { shape: place >= data.colours.length ? '/' : '' } },
    }));
  return {
    traces,
    layout: {
      barmode: 'stack', bargap: 0.25,
      xaxis: { title: { text: plain(along.label) }, tickvals: cells.map((_, column) => column), type: 'linear',
        ticktext: cells.map(cell => plain(along.told[cell.place[0]])), range: [-0.5, Math.max(1, cells.length) - 0.5] },
      yaxis: { title: { text: headed(perToken ? 'time per output token' : 'time', scale) }, rangemode: 'tozero', type: 'linear' },
    },
    caption: `The parts add up to the makespan${perToken ? ', divided by its tokens' : ''}. ` +
      middleOf(restOf(data, kept, [along, by])),
  };
}

const PLOTS = { lines: drawLines, heat: drawHeat, front: drawFront, causes: drawCauses };

/** Draw a plot of the state into its place. */
function drawPlot(name, data, state, rows, choose) {
  const place = document.getElementById(name), { traces, layout, caption } = PLOTS[name](data, state, rows);
  const { ink, grid, ground, soft } = plotInk(), narrow = place.clientWidth < 480;
  const axis = given => ({ automargin: true, gridcolor: grid, zerolinecolor: grid, linecolor: soft, ...given });
  const whole = {
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font: { color: ink, size: narrow ? 11 : 12 },
    autosize: true, margin: { l: 50, r: 12, t: 10, b: 45 }, hovermode: 'closest', dragmode: touches() ? false : 'zoom',
    hoverlabel: { bgcolor: ground, bordercolor: soft, font: { color: ink }, align: 'left', namelength: -1 },
    legend: { orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0, font: { size: narrow ? 10 : 11 }, itemwidth: 30, maxheight: 0.3 },
    ...layout, xaxis: axis(layout.xaxis || {}), yaxis: axis(layout.yaxis || {}), uirevision: JSON.stringify(
      [state.metric, state.along, state.across, state.down, state.x, state.y, state.log, state.only],
      (_, value) => (value instanceof Set ? [...value] : value)),
  };
  document.getElementById(`caption-${name}`).textContent = caption;
  place.setAttribute('aria-label', `${document.querySelector(`#card-${name} h2`).textContent}. ${caption} The table has the figures.`);
  const isNew = !place.layout;
  const drawn = Plotly.react(place, traces, whole, { responsive: true, displayModeBar: false });
  if (isNew) {
    place.on('plotly_click', event => {
      const row = event.points[0].customdata;
      if (row !== null && row !== undefined) choose(row);
    });
  }
  return drawn;
}

function touches() {
  return matchMedia('(pointer: coarse)').matches;
}
