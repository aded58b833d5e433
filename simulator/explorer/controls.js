// Selects, boxes and sliders. Each tells `change` what part of the state it sets; `show` puts the state back into them.
'use strict';

function element(tag, properties = {}, ...children) {
  const { dataset, aria, ...rest } = properties, made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, dataset || {});
  for (const [name, value] of Object.entries(aria || {})) made.setAttribute(`aria-${name}`, value);
  made.append(...children);
  return made;
}

function selectFor(name, label, options, change) {
  const select = element('select', { id: `choose-${name}` });
  select.append(...options.map(([value, text]) => element('option', { value, textContent: text })));
  select.addEventListener('change', () => change({ [name]: select.value }));
  return element('label', { className: 'choice' }, element('span', { textContent: label }), select);
}

function boxFor(name, label, change) {
  const box = element('input', { id: `choose-${name}`, type: 'checkbox' });
  box.addEventListener('change', () => change({ [name]: box.checked }));
  return element('label', { className: 'choice box' }, box, element('span', { textContent: label }));
}

/** A slider over an axis of numbers: at the left end all of them, then one after the other. */
function sliderFor(axis, change) {
  const slider = element('input', { id: `axis-${axis.name}`, type: 'range', min: 0, max: axis.levels.length, step: 1, value: 0 });
  const told = element('output', { htmlFor: slider.id });
  const tell = () => {
    const place = Number(slider.value);
    told.textContent = place ? axis.told[place - 1] : `all ${axis.levels.length}`;
    slider.setAttribute('aria-valuetext', told.textContent);
  };
  slider.addEventListener('input', () => {
    tell();
    const place = Number(slider.value);
    change({ only: [axis.name, place ? new Set([place - 1]) : null] });
  });
  slider.show = kept => {
    slider.value = kept && kept.size === 1 ? [...kept][0] + 1 : 0;
    tell();
    if (kept && kept.size !== 1) told.textContent = `${kept.size} of ${axis.levels.length}`;
  };
  return element('label', { className: 'choice' }, element('span', { textContent: axis.label }), slider, told);
}

/** A select over an axis of categories: all, one, or, below it, boxes for any of them. */
function categoriesFor(axis, change) {
  const every = axis.levels.map((_, place) => place);
  const select = element('select', { id: `axis-${axis.name}` });
  const several = element('option', { value: 'several', textContent: 'several', hidden: true });
  select.append(
    element('option', { value: '', textContent: `all ${axis.levels.length}` }), several,
    ...axis.told.map((text, place) => element('option', { value: place, textContent: text })),
  );
  select.addEventListener('change', () => {
    change({ only: [axis.name, select.value === '' ? null : new Set([Number(select.value)])] });
  });
  const boxes = axis.told.map((text, place) => {
    const box = element('input', { type: 'checkbox', value: place });
    box.addEventListener('change', () => {
      const kept = new Set(every.filter(one => boxes[one].checked));
      change({ only: [axis.name, kept.size === every.length ? null : kept] });
    });
    return box;
  });
  select.show = kept => {
    several.hidden = !kept || kept.size === 1;
    several.textContent = kept ? `${kept.size} of ${every.length}` : '';
    select.value = !kept ? '' : kept.size === 1 ? String([...kept][0]) : 'several';
    boxes.forEach((box, place) => { box.checked = !kept || kept.has(place); });
  };
  const list = element('div', { className: 'boxes' }, ...boxes.map((box, place) => element('label', {}, box, ` ${axis.told[place]}`)));
  return element(
    'div', { className: 'choice' },
    element('label', {}, element('span', { textContent: axis.label }), select),
    element('details', {}, element('summary', { textContent: 'several', ariaLabel: `Several of ${axis.label}` }), list),
  );
}

/** Lay all controls out. Returns `show(state)`. */
function makeControls(data, change) {
  const named = columns => columns.map(column => [column.name, column.isAxis === undefined ? column.label : titled(column)]);
  const axes = named(data.axes), metrics = named(data.metrics), numbers = named(data.numbers);
  const put = (id, ...controls) => document.getElementById(id).append(...controls);
  put('view',
    selectFor('metric', 'metric', metrics, change),
    selectFor('along', 'along', axes, change),
    selectFor('by', 'one line per', [...axes, ['', '(one line)']], change),
    boxFor('log', 'logarithmic', change));
  put('choices-heat', selectFor('across', 'across', axes, change), selectFor('down', 'down', axes, change));
  put('choices-front', selectFor('x', 'across', numbers, change), selectFor('y', 'up', numbers, change));
  put('choices-causes', selectFor('line', 'line', [], change));
  const varied = data.axes.filter(axis => axis.levels.length > 1);
  put('axes', ...varied.map(axis => (axis.kind === 'number' ? sliderFor : categoriesFor)(axis, change)));
  put('axes',
    selectFor('outcome', 'outcome', [['', 'all'], ['ok', 'ran'], ['failed', 'failed']], change),
    element('button', { id: 'reset', type: 'button', textContent: 'Show all', onclick: () => change({ only: null }) }),
    element('button', { id: 'share', type: 'button', textContent: 'Copy link', onclick: event => copy(location.href, event.target) }));
  for (const form of document.forms) form.addEventListener('submit', event => event.preventDefault());
  return state => {
    for (const name of ['metric', 'along', 'by', 'across', 'down', 'x', 'y', 'outcome']) {
      document.getElementById(`choose-${name}`).value = state[name];
    }
    document.getElementById('choose-log').checked = state.log;
    for (const axis of varied) document.getElementById(`axis-${axis.name}`).show(state.only[axis.name] || null);
  };
}

/** A column's label with its unit, as in a list of choices. */
function titled(column) {
  return column.unit && column.unit !== 'frac' ? `${column.label} (${column.unit})` : column.label;
}

async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed by the browser';
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}
