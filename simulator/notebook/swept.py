"""What came out of a sweep."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_profiles.errors import InputError
from simulator.notebook.frames import frame
from simulator.notebook.html import paragraph, table
from simulator.sweep.rows import Row

if TYPE_CHECKING:
    from pandas import DataFrame

_MOST_SHOWN = 60
_SHOWN = {
    "throughput_tokens_per_s": ("tokens/s", 1.0),
    "tpot_p50_s": ("TPOT p50, ms", 1e3),
    "tpot_p99_s": ("p99, ms", 1e3),
    "ttft_p99_s": ("TTFT p99, ms", 1e3),
    "hit_frac": ("hits, %", 100.0),
}


class Swept:
    """The table of a sweep: `rows` are those of `moesim sweep`, `axes` what was varied; a notebook shows a table."""

    def __init__(self, rows: Sequence[Row], *, axes: Sequence[str]) -> None:
        self.rows = rows
        self.axes = list(axes)

    @property
    def failed(self) -> Sequence[Mapping[str, object]]:
        """The rows of points that could not be run; each has its `reason`."""
        return [row for row in self.rows if row["status"] != "ok"]

    def __len__(self) -> int:
        return len(self.rows)

    def to_frame(self) -> "DataFrame":
        """Return a frame with a row for each point: its place on each axis, status, metrics, warnings, key and command.

        Raises InputError where pandas is not installed.
        """
        return frame(self.rows)

    def to_page(self, path: str | Path) -> None:
        """Write the page that `moesim sweep` writes as points.html: plots, and a table to be explored.

        Raises InputError where it cannot be written.
        """
        from simulator.explorer import explorer_page

        file = Path(path)
        text = explorer_page(self.rows, axes=self.axes, title=f"Sweep over {', '.join(self.axes)}")
        partial = file.with_name(f".moesim-{os.getpid()}-{file.name}")
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
        except OSError as error:
            raise InputError(file, f"cannot be written: {error.strerror}; name another file") from None
        finally:
            partial.unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"<Swept {', '.join(self.axes)}: {self._told()}>"

    def _told(self) -> str:
        failed = len(self.failed)
        return f"{len(self.rows)} points" + (f", {failed} failed" if failed else "")

    def _repr_html_(self) -> str:
        """Return the first points with their main figures; all figures are in the frame."""
        names = [name for name in _SHOWN if any(row.get(name) is not None for row in self.rows)]
        failed = bool(self.failed)
        headings = [*self.axes, *(_SHOWN[name][0] for name in names), *(["reason"] if failed else [])]
        cells = [
            [row[axis] for axis in self.axes]
            + [_scaled(row[name], _SHOWN[name][1]) for name in names]
            + ([row["reason"]] if failed else [])
            for row in self.rows[:_MOST_SHOWN]
        ]
        hidden = len(self.rows) - len(cells)
        more = paragraph(f"and {hidden} more: see to_frame()") if hidden else ""
        return f'<div class="moesim">{table(headings, cells, caption=self._told())}{more}</div>'


def _scaled(value: object, factor: float) -> object:
    return value * factor if isinstance(value, int | float) else value
