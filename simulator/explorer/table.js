// The table of all points shown, page by page, and the point that was chosen from it or from a plot.
'use strict';

const ROWS_PER_PAGE = 25;

/** Columns of the table: axes, what the plots are of, and the outcome; {name, label, unit, value(row), text(row)}. */
function tableColumns(data, state) {
  const axes = data.axes.map(axis => ({ name: axis.name, label: axis.label, value: row => axis.at[row],
    text: row => axis.told[axis.at[row]] }));
  const chosen = [...new Set([state.metric, state.y, state.x, ...state.more])].map(name => data.metric[name]).filter(Boolean);
  const metrics = chosen.map(metric => ({ name: metric.name, label: metric.label, value: row => metric.values[row],
    text: row => shown(metric.values[row], metric.unit), exact: row => exactly(metric.values[row], metric.unit) }));
  const outcome = { name: 'outcome', label: 'outcome', value: row => data.failed[row],
    text: row => (data.failed[row] ? `failed: ${textOf(data.reason, row)}` : 'ran') };
  return [...axes, ...metrics, outcome];
}

/** Rows in the table's order that hold all words; rows without a value come last, whichever way. */
function tableRows(data, state, rows, columns) {
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = words.length
    ? rows.filter(row => {
      const text = [...columns.map(column => column.text(row)), ...data.texts.map(column => textOf(column, row))].join(' ');
      return words.every(word => text.toLowerCase().includes(word));
    })
    : [...rows];
  const down = state.sort.startsWith('-'), column = columns.find(one => one.name === state.sort.replace(/^-/, ''));
  if (!column) return kept;
  const sign = down ? -1 : 1;
  const missing = value => Number(Number.isNaN(value));
  return kept.sort((p, q) => {
    const a = column.value(p), b = column.value(q);
    return missing(a) - missing(b) || (missing(a) ? 0 : sign * (a - b)) || p - q;
  });
}

/** Lay the table's frame out. Returns `show(state, rows)`. */
function makeTable(data, change) {
  const search = element('input', { id: 'words', type: 'search', placeholder: 'words that a row must hold' });
  search.addEventListener('input', () => change({ words: search.value, page: 0 }, 'table'));
  const columnBoxes = data.metrics.map(metric => {
    const box = element('input', { type: 'checkbox', value: metric.name });
    box.addEventListener('change', () => change({ more: metric.name }, 'table'));
    return box;
  });
  const more = element(
    'details', { id: 'columns' }, element('summary', { textContent: 'columns' }),
    element('div', { className: 'boxes' }, ...columnBoxes.map((box, place) => element('label', {}, box, ` ${titled(data.metrics[place])}`))),
  );
  const table = element('table'), told = element('span', { role: 'status' });
  const back = element('button', { id: 'back', type: 'button', textContent: 'Previous', onclick: () => change({ page: -1 }, 'table') });
  const next = element('button', { id: 'next', type: 'button', textContent: 'Next', onclick: () => change({ page: 1 }, 'table') });
  const save = element('button', { id: 'csv', type: 'button', textContent: 'Save as CSV' });
  document.getElementById('rows').append(
    element('h2', { textContent: 'Points' }),
    element('div', { className: 'choices' },
      element('label', { className: 'choice' }, element('span', { textContent: 'find' }), search),
      element('div', { className: 'choice' }, more), save),
    element('div', { className: 'wide', tabIndex: 0, role: 'region', ariaLabel: 'Table of points' }, table),
    element('div', { className: 'choices' }, back, next, told),
  );
  let listed = [];
  save.addEventListener('click', () => saveCsv(data, listed));

  return (state, rows) => {
    const columns = tableColumns(data, state);
    listed = tableRows(data, state, rows, columns);
    const pages = Math.max(1, Math.ceil(listed.length / ROWS_PER_PAGE)), page = Math.min(state.page, pages - 1);
    state.page = page;
    const head = element('tr', {}, ...columns.map(column => {
      const mark = state.sort === column.name ? 'ascending' : state.sort === `-${column.name}` ? 'descending' : 'none';
      const button = element('button', { type: 'button', textContent: column.label, dataset: { focus: `sort ${column.name}` } });
      button.addEventListener('click', () => {
        change({ sort: mark === 'ascending' ? `-${column.name}` : column.name, page: 0 }, 'table');
      });
      return element('th', { scope: 'col', aria: { sort: mark }, dataset: { name: column.name } }, button);
    }), element('th', { scope: 'col', textContent: 'details' }));
    const body = listed.slice(page * ROWS_PER_PAGE, (page + 1) * ROWS_PER_PAGE).map(row => {
      const cells = columns.map(column => element('td', {
        textContent: column.text(row), title: column.exact ? column.exact(row) : '',
        className: column.name === 'outcome' && data.failed[row] ? 'bad' : '',
      }));
      const key = data.key[row];
      const button = element('button', { type: 'button', textContent: 'Show', ariaLabel: `Show point ${row + 1}`,
        dataset: { focus: `show ${row}` } });
      button.addEventListener('click', () => change({ at: key }));
      return element('tr', { className: key === state.at ? 'chosen' : '', dataset: { row } }, ...cells, element('td', {}, button));
    });
    const focused = table.contains(document.activeElement) ? document.activeElement.dataset.focus : '';
    table.replaceChildren(element('thead', {}, head), element('tbody', {}, ...body));
    if (focused) for (const button of table.querySelectorAll('button')) if (button.dataset.focus === focused) button.focus();
    told.textContent = `${listed.length} points, page ${page + 1} of ${pages}`;
    back.disabled = page === 0;
    next.disabled = page === pages - 1;
    if (search.value !== state.words) search.value = state.words;
    const has = new Set(columns.map(column => column.name)), asked = new Set(state.more);
    for (const box of columnBoxes) {
      box.checked = has.has(box.value);
      box.disabled = box.checked && !asked.has(box.value); // a plot shows it
    }
  };
}

/** Show a point's figures and the command that reproduces it. */
function showPoint(data, state, change) {
  const place = document.getElementById('point'), row = data.rowOfKey.get(state.at);
  if (place.dataset.shown === state.at) return;
  place.dataset.shown = state.at;
  if (row === undefined) {
    place.replaceChildren(element('p', { textContent: 'Click a point of a plot, or Show in the table, for all its figures and its command.' }));
    return;
  }
  const told = [];
  const tell = (label, text, className = '') => told.push(
    element('div', {}, element('dt', { textContent: label }), element('dd', { textContent: text, className })),
  );
  for (const axis of data.axes) tell(axis.label, axis.told[axis.at[row]]);
  if (data.failed[row]) tell('failed', textOf(data.reason, row), 'bad');
  for (const metric of data.metrics) {
    const value = metric.values[row];
    if (Number.isNaN(value)) continue;
    tell(metric.label, both(value, metric.unit));
  }
  for (const column of data.texts) if (textOf(column, row)) tell(column.label, textOf(column, row));
  for (const { label, unit, value } of data.constants) {
    tell(label, typeof value === 'number' ? both(value, unit) : value);
  }
  const command = commandOf(data, row), repeat = [];
  if (command) {
    const button = element('button', { id: 'copy-command', type: 'button', textContent: 'Copy command' });
    button.addEventListener('click', () => copy(command, button));
    repeat.push(element('pre', { id: 'command', tabIndex: 0, textContent: command }), button);
  }
  const close = element('button', { id: 'close-point', type: 'button', textContent: 'Close' });
  close.addEventListener('click', () => change({ at: '' }));
  place.replaceChildren(
    element('div', { className: 'top' }, element('h2', { textContent: `Point ${row + 1}` }), close), ...repeat,
    element('dl', { className: 'figures' }, ...told),
  );
}

/** Save rows with all their columns; names and values as in the results. */
function saveCsv(data, rows) {
  const quoted = value => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const columns = [
    ...data.axes.map(axis => [axis.name, row => String(axis.levels[axis.at[row]])]),
    ...data.metrics.map(metric => [metric.name, row => (Number.isNaN(metric.values[row]) ? '' : String(metric.values[row]))]),
    ...data.texts.map(column => [column.name, row => textOf(column, row)]),
    ['status', row => (data.failed[row] ? 'failed' : 'ok')], ['reason', row => textOf(data.reason, row)],
    ['command', row => commandOf(data, row)], ['key', row => data.key[row]],
  ];
  const lines = [columns.map(([name]) => quoted(name)), ...rows.map(row => columns.map(([, of]) => quoted(of(row))))];
  const address = URL.createObjectURL(new Blob([lines.map(line => line.join(',')).join('\n'), '\n'], { type: 'text/csv' }));
  element('a', { href: address, download: 'points.csv' }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
