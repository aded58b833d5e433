// Plots that stand in the page as JSON, drawn by the packed library.
'use strict';

function drawIn(place, { data, layout }) {
  for (const [path, colour] of Object.entries(inked(layout))) {
    const [key, part] = path.split('.');
    layout[key] = { ...layout[key], [part]: colour };
  }
  place.textContent = '';
  Plotly.newPlot(place, data, layout, { responsive: true, displayModeBar: false });
}

async function drawAll() {
  performance.mark('change');
  const places = [...document.querySelectorAll('.plotly-graph-div')];
  try {
    await runLibrary();
    for (const place of places) drawIn(place, JSON.parse(place.firstElementChild.textContent));
    document.documentElement.dataset.ready = 'true';
    performance.measure('redraw', 'change');
  } catch (error) {
    for (const place of places) if (!place.layout) {
      place.style.height = 'auto';
      place.textContent = 'This plot needs a browser of 2024 or later; its figures stand in the tables.';
    }
    throw error;
  }
}
drawAll();
