"""Import routing that others recorded: numpy archives, JSON lines, CSV, and what serving engines emit.

A reader takes a path and the options and returns what it found, unchecked; `join` brings it to the format's dtypes,
and `write_trace` checks the whole trace before it appears.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from traces.errors import TraceError
from traces.format import Trace, open_trace, write_trace
from traces.importing.cache_lab import FORMAT as CACHE_LAB
from traces.importing.cache_lab import read_cache_lab
from traces.importing.eplb import read_eplb, read_load_matrix
from traces.importing.jsonl import read_jsonl
from traces.importing.llama_cpp import read_llama_cpp
from traces.importing.npz import read_npz
from traces.importing.options import ImportOptions
from traces.importing.pickled import refuse_pickle
from traces.importing.policylang import read_policylang
from traces.importing.recorded import Recorded, join
from traces.importing.sglang import read_sglang
from traces.importing.sglang_recorder import read_sglang_recorder
from traces.importing.table import read_table
from traces.importing.vllm import read_vllm

__all__ = [
    "FORMATS",
    "ImportOptions",
    "ImportReport",
    "Recorded",
    "detect_format",
    "import_trace",
    "read_load_matrix",
]

Reader = Callable[[Path, ImportOptions], Recorded]

FORMATS: Mapping[str, Reader] = {
    "npz": read_npz,
    "jsonl": read_jsonl,
    "csv": read_table,
    "vllm": read_vllm,
    "sglang": read_sglang,
    "sglang-recorder": read_sglang_recorder,
    "llama-cpp": read_llama_cpp,
    "moe-policylang": read_policylang,
    "moe-cache-lab": read_cache_lab,
    "eplb": read_eplb,
}

_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What was imported, by which reader, and what the user should know of it."""

    trace: Trace
    format: str
    notes: tuple[str, ...]


def import_trace(
    files: Sequence[Path], out: Path, options: ImportOptions, *, format: str | None = None, overwrite: bool = False
) -> ImportReport:
    """Write a trace from foreign files, the sequences of each after those of the one before.

    `format` is a key of `FORMATS`; None asks the files. Raises TraceError, naming the file, the line or array, the
    value and the remedy; `out` is then as it was.
    """
    if not files:
        raise TraceError(out, "no file to import from was named")
    if out.exists() and not overwrite:
        raise TraceError(out, "exists already; a trace never changes once written: choose another name, or --overwrite")
    if format is not None and format not in FORMATS:
        raise TraceError(files[0], f"there is no format {format!r}; choose of {', '.join(FORMATS)}")
    parts = []
    chosen = format
    for path in files:
        try:
            refuse_pickle(path)
            chosen = chosen or detect_format(path)
            parts.append(FORMATS[chosen](path, options))
        except OSError as error:
            raise TraceError(path, f"cannot be read: {error.strerror or error}") from None
    assert chosen is not None
    joined = join(parts, options)
    write_trace(out, joined.sequences, joined.metadata, overwrite=overwrite)
    return ImportReport(trace=open_trace(out), format=chosen, notes=joined.notes)


def detect_format(path: Path) -> str:
    """Return the key of `FORMATS` that a file's name and beginning point to.

    Raises TraceError if they do not, OSError.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return "npz"
    if suffix == ".npy":
        return "vllm"
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8-sig", "replace").lstrip()
    if suffix == ".csv":
        return "llama-cpp" if re.match(r"[0-9]+,[0-9]+\s*(\n|$)", head) else "csv"
    if suffix in (".jsonl", ".ndjson"):
        return _of_lines(head) or "jsonl"
    if suffix == ".json":
        if '"topk_ids_of_layer"' in head or '"forward_pass_id"' in head:
            return "sglang-recorder"
        found = _of_response(head)
        if found:
            return found
        if '"logical_count"' in head or re.match(r"\[\s*\[\s*[0-9.]|\{\s*\"[0-9]+\"\s*:\s*\{", head):
            return "eplb"
    raise TraceError(path, f"cannot tell its format; choose of {', '.join(FORMATS)} with --format")


def _of_lines(head: str) -> str | None:
    line = head.partition("\n")[0]
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return _of_response(line)
    if not isinstance(first, dict):
        return None
    if first.get("format") == CACHE_LAB:
        return "moe-cache-lab"
    if {"model_name", "num_layers", "num_experts", "top_k"} <= first.keys():
        return "moe-policylang"
    return _of_response(line)


def _of_response(text: str) -> str | None:
    if '"routed_experts"' not in text and '"prompt_routed_experts"' not in text:
        return None
    return "sglang" if '"meta_info"' in text or '"sgl_ext"' in text else "vllm"
