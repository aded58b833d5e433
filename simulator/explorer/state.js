// What the reader has chosen. It stands in the address after #, so that a view can be shared, and comes back from there.
'use strict';

function firstOf(columns, patterns) {
  for (const pattern of patterns) {
    const found = columns.find(column => pattern.test(column.name));
    if (found) return found.name;
  }
  return columns.length ? columns[0].name : '';
}

/** The choices of a fresh page: latency along the axis with most numbers, a line per category. */
function freshState(data) {
  const varied = data.axes.filter(axis => axis.levels.length > 1);
  const axes = varied.length ? varied : data.axes;
  const numbers = axes.filter(axis => axis.kind === 'number');
  const along = numbers.find(axis => /cache/.test(axis.name))
    || [...numbers].sort((a, b) => b.levels.length - a.levels.length)[0] || axes[0];
  const others = axes.filter(axis => axis !== along);
  const by = others.find(axis => /system|polic|eviction|prefetch/.test(axis.name))
    || others.find(axis => axis.kind === 'category') || others[0];
  const down = others.find(axis => /pcie|link/.test(axis.name)) || others.find(axis => axis !== by) || by;
  const latency = firstOf(data.metrics, [/tpot.*p50/, /tpot.*mean/, /tpot/, /ttft/, /itl/, /e2e/, /makespan/]);
  const cost = firstOf(
    data.numbers.filter(column => column.name !== latency),
    [/usd_per_million/, /usd/, /vram|gpu_bytes|cache.*bytes/, /joule|energy|watt/, /cache/, /bytes/],
  );
  return {
    metric: latency, along: along.name, by: by ? by.name : '', down: down ? down.name : along.name, across: along.name,
    x: cost, y: latency, line: '', log: false, outcome: '', only: {}, sort: '', page: 0, words: '', at: '', more: [], ...data.start,
  };
}

const SHORT = { metric: 'm', along: 'a', by: 'by', across: 'hx', down: 'hy', x: 'x', y: 'y', line: 'line', outcome: 'is',
  sort: 'sort', words: 'q', at: 'at' };

/** The part of an address that stands for a state: only what differs from a fresh page. */
function toHash(state, fresh, data) {
  const said = new URLSearchParams();
  for (const [name, short] of Object.entries(SHORT)) if (state[name] !== fresh[name]) said.set(short, state[name]);
  if (state.log) said.set('log', '1');
  if (state.page) said.set('page', state.page + 1);
  for (const name of state.more) said.append('column', name);
  for (const axis of data.axes) {
    const kept = state.only[axis.name];
    if (kept) for (const place of [...kept].sort((a, b) => a - b)) said.append(`only.${axis.name}`, axis.levels[place]);
    if (kept && !kept.size) said.append(`only.${axis.name}`, '');
  }
  return said.toString();
}

/** The state that an address stands for; what it names and the data have not is left out. */
function fromHash(hash, fresh, data) {
  const said = new URLSearchParams(hash.replace(/^#/, '')), state = { ...fresh, only: {} };
  const axes = new Set(data.axes.map(axis => axis.name)), numbers = new Set(data.numbers.map(column => column.name));
  const metrics = new Set(data.metrics.map(metric => metric.name));
  const known = { metric: metrics, along: axes, by: new Set([...axes, '']), across: axes, down: axes, x: numbers, y: numbers,
    outcome: new Set(['', 'ok', 'failed']) };
  for (const [name, short] of Object.entries(SHORT)) {
    const value = said.get(short);
    if (value !== null && (!known[name] || known[name].has(value))) state[name] = value;
  }
  state.more = said.getAll('column').filter(name => metrics.has(name));
  state.log = said.get('log') === '1';
  state.page = Math.max(0, (parseInt(said.get('page'), 10) || 1) - 1);
  if (!data.rowOfKey.has(state.at)) state.at = '';
  for (const axis of data.axes) {
    const values = said.getAll(`only.${axis.name}`);
    if (!values.length) continue;
    state.only[axis.name] = new Set(
      values.map(value => axis.levels.findIndex(level => String(level) === value)).filter(place => place >= 0),
    );
  }
  return state;
}

/** The rows that the state's axes and outcome leave. */
function rowsShown(data, state) {
  const masks = data.axes.filter(axis => state.only[axis.name]).map(axis => [axis.at, state.only[axis.name]]);
  const rows = [];
  for (let row = 0; row < data.count; row++) {
    if (state.outcome && (state.outcome === 'failed') !== Boolean(data.failed[row])) continue;
    if (masks.every(([at, kept]) => kept.has(at[row]))) rows.push(row);
  }
  return rows;
}
