"""Import routing that others recorded: numpy archives, JSON lines, CSV, and what serving engines emit.

A reader takes a path and the options and returns what it found, unchecked; `join` brings it to the format's dtypes,
and `write_trace` checks the whole trace before it appears.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from traces.errors import TraceError
from traces.format import Trace, open_trace, write_trace
from traces.importing.jsonl import read_jsonl
from traces.importing.npz import read_npz
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded, join
from traces.importing.table import read_table

__all__ = ["FORMATS", "ImportOptions", "ImportReport", "Recorded", "detect_format", "import_trace"]

Reader = Callable[[Path, ImportOptions], Recorded]

FORMATS: Mapping[str, Reader] = {
    "npz": read_npz,
    "jsonl": read_jsonl,
    "csv": read_table,
}


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
    chosen = format or detect_format(files[0])
    parts = []
    for path in files:
        try:
            parts.append(FORMATS[chosen](path, options))
        except OSError as error:
            raise TraceError(path, f"cannot be read: {error.strerror or error}") from None
    joined = join(parts, options)
    write_trace(out, joined.sequences, joined.metadata, overwrite=overwrite)
    return ImportReport(trace=open_trace(out), format=chosen, notes=joined.notes)


def detect_format(path: Path) -> str:
    """Return the key of `FORMATS` that a file's name and first bytes point to. Raises TraceError if they do not."""
    suffix = path.suffix.lower()
    by_suffix = {".npz": "npz", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
    if suffix in by_suffix:
        return by_suffix[suffix]
    raise TraceError(path, f"cannot tell its format from the name; choose of {', '.join(FORMATS)} with --format")
