"""What came out of one run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from simulator.notebook.frames import frame
from simulator.notebook.html import shown
from simulator.report import render_summary, title_of, warnings_of
from simulator.results import request_rows
from simulator.run import RunResult
from simulator.scenario import Scenario
from simulator.sweep.metrics import flat_metrics

if TYPE_CHECKING:
    from pandas import DataFrame

Kind = Literal["summary", "requests", "layers"]


class Ran:
    """One run: `summary` is what `moesim run --json` prints, `result` all that there is; a notebook shows a table."""

    def __init__(self, result: RunResult) -> None:
        self.result = result

    @property
    def scenario(self) -> Scenario:
        """The scenario as it was run."""
        return self.result.scenario

    @property
    def summary(self) -> Mapping[str, object]:
        """Throughput, latencies, accesses, bytes and times by cause; units stand at the end of names."""
        return self.result.summary

    @property
    def warnings(self) -> Sequence[str]:
        """What the run could not honour, or a reader should know before relying on it."""
        return warnings_of(self.summary)

    def to_frame(self, kind: Kind = "summary") -> "DataFrame":
        """Return a frame: `summary` is one row with every number by its name, as in a sweep's table; `requests` and `layers`
        have a row for each, as in requests.csv and layers.csv, times in ns.

        Raises InputError for another kind, and where pandas is not installed.
        """
        if kind == "summary":
            return frame([flat_metrics(self.summary)])
        if kind == "requests":
            return frame(request_rows(self.result))
        if kind == "layers":
            return frame(self.result.layers)
        raise InputError("to_frame", f"kind: {kind!r} is not known; {one_of(str(kind), get_args(Kind))}")

    def __repr__(self) -> str:
        rate = self.summary["throughput_tokens_per_s"]
        told = f"{rate:.4g} tokens/s" if isinstance(rate, float) else "no tokens"
        return f"<Ran {title_of(self.summary)}: {told}>"

    def _repr_html_(self) -> str:
        """Return the report of `moesim run` as HTML."""
        return shown(render_summary(self.summary, title_of(self.summary)))
