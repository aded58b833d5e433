"""Import the CSV of llama.cpp's example `moe-trace`: a row `layer,expert` per routed activation, without a header.

Rows come in the order of computation: for each micro-batch, each layer, each token, each rank. A pass ends where the
layer number falls. A layer's block of rows in a pass is tokens x top-k; top-k is `--top-k` or else the shortest block,
since a pass of the greedy continuation holds one token. Passes of more than one token are the prompt.

llama.cpp computes the last layer only for tokens whose output is wanted, so passes of the prompt lack rows there.
Such passes are left out, and their tokens counted in `context_start`, unless the last layer is left out instead
(`--skip-layer`).

Source: ggml-org/llama.cpp, pull request 28544 (examples/moe-trace/moe-trace.cpp), open when this was written.
Limits: one prompt per file; no gate weights. A prompt chunk of a single token is taken for a decode step; say
`--prompt-tokens` then.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded
from traces.importing.text import read_lines, to_int


def read_llama_cpp(path: Path, options: ImportOptions) -> Recorded:
    """Read the CSV of `moe-trace`. Raises TraceError, OSError."""
    layer, expert = _columns(path, options)
    passes = _passes(layer, options.skip_layers)
    blocks = [block for of_layer in passes for block in of_layer.values()]
    if not blocks:
        raise TraceError(path, "holds no routing; is it a CSV of moe-trace?")
    top_k = options.top_k or min(len(block) for block in blocks)
    for block in blocks:
        if len(block) % top_k:
            raise TraceError(
                path,
                f"lines {block[0] + 1} to {block[-1] + 1} are {len(block)} experts of layer {layer[block[0]]}, no "
                f"multiple of top-k {top_k}: check --top-k",
            )
    layers = sorted({number for of_layer in passes for number in of_layer})
    parts: list[NDArray[np.int64]] = []
    context, prompt, left_out = 0, 0, 0
    for of_layer in passes:
        counts = [len(of_layer.get(number, ())) // top_k for number in layers]
        if min(counts) != max(counts):
            if parts:
                line = next(iter(of_layer.values()))[0] + 1
                raise TraceError(path, f"line {line}: a pass lacks rows of some layers, but passes before it do not")
            context += max(counts)
            left_out += 1
            continue
        parts.append(np.stack([expert[of_layer[number]].reshape(-1, top_k) for number in layers], axis=1))
        if counts[0] > 1:
            prompt += counts[0]
    if not parts:
        raise TraceError(
            path,
            f"no pass has rows of all layers {layers[0]} to {layers[-1]}: leave out the last with "
            f"--skip-layer {layers[-1]}, or trace with -n 1 or more",
        )
    notes = []
    if left_out:
        notes.append(
            f"{context} prompt tokens of {left_out} passes left out: llama.cpp does not compute layer {layers[-1]} of "
            f"them (--skip-layer {layers[-1]} keeps them without it)"
        )
    if options.top_k is None:
        notes.append(f"top-k taken to be {top_k}, the fewest experts of a layer in one pass")
    ids = np.concatenate(parts)
    return Recorded(
        path=path,
        expert_ids=ids,
        lengths=np.array([len(ids)], np.int64),
        prompt_tokens=np.array([prompt], np.int64),
        context_start=np.array([context], np.int64),
        captured="llama.cpp, moe-trace",
        extra={"source_layers": ",".join(map(str, layers))},
        notes=tuple(notes),
    )


def _columns(path: Path, options: ImportOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pairs = []
    for number, text in read_lines(path, options):
        layer, comma, expert = text.partition(",")
        if not comma or "," in expert:
            raise TraceError(path, f"line {number} should be layer,expert: {text[:60]!r}")
        pairs.append((to_int(path, f"line {number}: layer", layer), to_int(path, f"line {number}: expert", expert)))
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _passes(layer: NDArray[np.int64], skip_layers: frozenset[int]) -> list[dict[int, range]]:
    """Return, for each pass, the rows of each layer."""
    changes = [0, *(np.nonzero(np.diff(layer))[0] + 1).tolist(), len(layer)]
    passes: list[dict[int, range]] = []
    before = None
    for start, stop in pairwise(changes):
        if start == stop:
            continue
        number = int(layer[start])
        if before is None or number < before:
            passes.append({})
        before = number
        if number not in skip_layers:
            passes[-1][number] = range(start, stop)
    return passes
