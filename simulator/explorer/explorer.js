// A change of the state redraws what shows it, once per frame; plots out of sight wait until they come into sight.
// What is in sight is told once, before the first drawing: a page that was drawn once shows its first plot.
'use strict';

function explore(data) {
  const fresh = freshState(data);
  let state = fromHash(location.hash, fresh, data), rows = [], wanted = false, seen = false, written = null;
  const visible = new Set(), stale = new Set(Object.keys(PLOTS));
  const showControls = makeControls(data, change), showTable = makeTable(data, change);
  if (!data.metrics.length) for (const part of document.querySelectorAll('.cards, #view')) part.hidden = true;
  if (!data.attribution.length) document.getElementById('card-causes').hidden = true;
  if (data.axes.filter(axis => axis.levels.length > 1).length < 2) document.getElementById('card-heat').hidden = true;

  /** Take over a part of the state; `what` is "table" where the plots stay as they are. */
  function change(part, what = 'all') {
    const next = { ...state, only: { ...state.only } };
    for (const [name, value] of Object.entries(part)) {
      if (name === 'only') {
        if (value === null) { next.only = {}; next.outcome = ''; }
        else if (value[1] === null) delete next.only[value[0]];
        else next.only[value[0]] = value[1];
        next.page = 0;
      } else if (name === 'page' && value) next.page = Math.max(0, state.page + value);
      else if (name === 'more') {
        next.more = state.more.includes(value) ? state.more.filter(one => one !== value) : [...state.more, value];
      } else next[name] = value;
    }
    if ('metric' in part && state.y === state.metric) next.y = part.metric;
    state = next;
    if (what === 'all') for (const name of Object.keys(PLOTS)) stale.add(name);
    redraw();
  }

  function redraw() {
    if (wanted) return;
    wanted = true;
    performance.clearMarks('change');
    performance.mark('change');
    requestAnimationFrame(() => {
      wanted = false;
      rows = rowsShown(data, state);
      showControls(state);
      tellCounts();
      drawStale();
      showPoint(data, state, change);
      showTable(state, rows);
      writeHash();
      requestAnimationFrame(() => setTimeout(() => performance.measure('redraw', 'change')));
    });
  }

  function tellCounts() {
    const failed = rows.reduce((sum, row) => sum + data.failed[row], 0);
    document.getElementById('counts').textContent =
      `${rows.length} of ${data.count} points shown${failed ? `, ${failed} of them failed` : ''}.`;
  }

  function drawStale() {
    for (const name of data.metrics.length ? visible : []) {
      if (!stale.delete(name)) continue;
      drawPlot(name, data, state, rows, row => change({ at: data.key[row] }));
    }
  }

  function writeHash() {
    clearTimeout(written);
    written = setTimeout(() => {
      const hash = toHash(state, fresh, data);
      if (hash !== location.hash.slice(1)) history.replaceState(null, '', hash ? `#${hash}` : location.pathname + location.search);
    }, 150); // browsers stop scripts that write it more often than a few times a second
  }

  addEventListener('hashchange', () => {
    state = fromHash(location.hash, fresh, data);
    for (const name of Object.keys(PLOTS)) stale.add(name);
    redraw();
  });
  document.addEventListener('theme', () => {
    for (const name of Object.keys(PLOTS)) stale.add(name);
    redraw();
  });
  const sight = new IntersectionObserver(entries => {
    for (const entry of entries) {
      const name = entry.target.querySelector('.plot').id;
      if (entry.isIntersecting) visible.add(name);
      else visible.delete(name);
    }
    if (!seen || [...visible].some(name => stale.has(name))) redraw();
    seen = true;
  }, { rootMargin: '100px' });
  for (const name of Object.keys(PLOTS)) sight.observe(document.getElementById(`card-${name}`));
  if (matchMedia('(max-width: 700px)').matches) document.getElementById('filters').open = false;
}

(async () => {
  try {
    const [text] = await Promise.all([unpacked('data'), runLibrary()]);
    explore(readData(text));
    document.documentElement.dataset.ready = 'true';
  } catch (error) {
    const told = document.getElementById('counts');
    told.textContent = `This page cannot be shown by this browser: ${error}. One of 2024 or later can.`;
    told.className = 'bad';
    throw error;
  }
})();
