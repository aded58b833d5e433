// Light, dark, or as the system says. Plots follow: the document gets a `theme` event when what is shown changes.
'use strict';

const systemIsDark = matchMedia('(prefers-color-scheme: dark)');
const themeChoice = document.querySelector('#theme');

function isDark() {
  return themeChoice.value ? themeChoice.value === 'dark' : systemIsDark.matches;
}

/** Colours of a plot's text, lines and ground. */
function plotInk() {
  return isDark()
    ? { ink: '#e6e9ef', soft: '#a3adbd', grid: '#38404d', ground: '#14181f' }
    : { ink: '#1d2330', soft: '#566072', grid: '#e3e7ee', ground: '#ffffff' };
}

function setTheme() {
  if (themeChoice.value) document.documentElement.dataset.theme = themeChoice.value;
  else delete document.documentElement.dataset.theme;
  document.dispatchEvent(new Event('theme'));
}

themeChoice.addEventListener('change', () => {
  setTheme();
  try { localStorage.setItem('moesim-theme', themeChoice.value); } catch { /* some browsers keep nothing for a file */ }
});
systemIsDark.addEventListener('change', () => document.dispatchEvent(new Event('theme')));
try { themeChoice.value = localStorage.getItem('moesim-theme') || ''; } catch { themeChoice.value = ''; }
setTheme();
