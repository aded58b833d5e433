// What a page brings compressed: the plotting library and data.
'use strict';

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
}

/** Run the packed library. The page's policy admits a script by its digest, however it comes. */
async function runLibrary() {
  const script = document.createElement('script');
  script.textContent = await unpacked('library');
  document.head.append(script);
}
