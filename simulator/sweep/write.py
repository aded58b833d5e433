"""Write a sweep's table: CSV, JSON, a page, Parquet where pyarrow is there. Each file appears whole, or stays as it was."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.explorer import explorer_page
from simulator.new_folder import csv_text
from simulator.results import summary_json
from simulator.sweep.file import Sweep
from simulator.sweep.rows import Row

STORE = "store"
_PARTIAL = ".moesim-"
_TOO_LARGE = 1 << 63
_FILES = ("points.csv", "points.json", "points.html", "points.parquet")


class SweepFolder:
    """The folder of a sweep: its table, and its store of results unless that is elsewhere.

    A folder that holds anything else, or the table of another sweep (unless `overwrite`), is refused. Raises InputError.
    """

    def __init__(self, path: Path, sweep: Sweep, base: Mapping[str, object], *, overwrite: bool) -> None:
        self.path = path
        self._definition = {"scenario": dict(base), **sweep.definition}
        try:
            self._check(overwrite=overwrite)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_written(path, error) from None

    def write(self, rows: Sequence[Row], axes: Sequence[str]) -> str:
        """Write the table in all formats, and return it as JSON. Raises InputError."""
        facts = {
            "moesim_version": version("moesim"),
            "sweep": self._plain_definition(),
            "axes": list(axes),
            "rows": list(rows),
        }
        text = summary_json(facts)
        contents = {"points.csv": csv_text(rows).encode(), "points.json": text.encode()}
        contents["points.html"] = explorer_page(rows, axes=axes, title=f"Sweep over {', '.join(axes)}").encode()
        if find_spec("pyarrow") is not None:
            contents["points.parquet"] = _parquet(rows)
        try:
            for name, content in contents.items():
                partial = self.path / f"{_PARTIAL}{os.getpid()}-{name}"
                try:
                    partial.write_bytes(content)
                    partial.replace(self.path / name)
                finally:
                    partial.unlink(missing_ok=True)
            if "points.parquet" not in contents:
                (self.path / "points.parquet").unlink(missing_ok=True)  # of an earlier call, and no longer true
        except OSError as error:
            raise _not_written(self.path, error) from None
        return text

    def _check(self, *, overwrite: bool) -> None:
        path = self.path
        if not path.exists():
            return
        if not path.is_dir():
            raise InputError(f"--out {path}", "is a file; name a folder")
        known = {*_FILES, STORE}
        strange = sorted(
            item.name for item in path.iterdir() if item.name not in known and not item.name.startswith(_PARTIAL)
        )
        if strange:
            listed = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
            raise InputError(f"--out {path}", f"holds {listed}, which no sweep wrote; name another folder")
        table = path / "points.json"
        if table.exists() and not overwrite and self._read_definition(table) != self._plain_definition():
            raise InputError(
                f"--out {path}", "holds the table of another sweep; name another folder, or add --overwrite"
            )

    def _plain_definition(self) -> object:
        return json.loads(json.dumps(self._definition, default=str))

    @staticmethod
    def _read_definition(table: Path) -> object:
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            return json.loads(table.read_text(encoding="utf-8"))["sweep"]
        return None


def _parquet(rows: Sequence[Row]) -> bytes:
    """Return rows as Parquet: whole numbers, numbers or texts by column, the same bytes for the same rows."""
    import pyarrow
    from pyarrow import parquet

    columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
    target = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), target, compression="zstd")
    return target.getvalue()


def _column(values: Sequence[object]) -> object:
    import pyarrow

    there = [value for value in values if value is not None]
    if there and all(isinstance(value, int) and -_TOO_LARGE <= value < _TOO_LARGE for value in there):
        return pyarrow.array([value if isinstance(value, int) else None for value in values], pyarrow.int64())
    if there and all(isinstance(value, int | float) for value in there):
        return pyarrow.array([float(value) if isinstance(value, int | float) else None for value in values])
    return pyarrow.array([None if value is None else str(value) for value in values], pyarrow.string())


def _not_written(path: Path, error: OSError) -> InputError:
    return InputError(f"--out {path}", f"cannot be written: {error.strerror}; name another folder")
