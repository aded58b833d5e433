"""The table of a search for the capacity."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.durations import format_duration

HEADINGS = ("requests/s", "x", "kept", "", "goodput/s", "tokens/s", "TTFT p50", "p99", "TPOT", "queue p99", "GPU busy")


def render_capacity(facts: Mapping[str, object]) -> RenderableType:
    """Lay a search out: its result, the probes by rate, warnings."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in probes_of(facts):
        table.add_row(*cells(row), style="" if row["is_sustained"] else "dim")
    parts: list[RenderableType] = [
        Text(f"{facts['model']} on {facts['hardware']}: {result_of(facts)}", style="bold"),
        Text(f"sustained: {facts['criterion']}", style="dim"),
        table,
    ]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in _texts(facts["warnings"])]
    return Group(*parts)


def result_of(facts: Mapping[str, object]) -> str:
    """Say in a sentence what was found."""
    kept, above = facts["sustained_requests_per_s"], facts["not_sustained_requests_per_s"]
    if facts["partial"]:
        return "interrupted before the rate was found"
    if not isinstance(kept, float):
        return "no rate is sustained"
    if not isinstance(above, float):
        return f"more than {kept:.4g} requests/s sustained"
    return f"{kept:.4g} requests/s sustained, {above:.4g} not"


def probes_of(facts: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """Return the probes by rising rate."""
    probes = facts["probes"]
    assert isinstance(probes, Sequence)
    return sorted(probes, key=lambda row: float(row["rate_factor"]))


def cells(row: Mapping[str, object]) -> Sequence[str]:
    """Return the texts of a probe's row, below `HEADINGS`."""
    durations = ("ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "queueing_p99_s")
    return (
        _number(row["offered_requests_per_s"], "{:.4g}"),
        _number(row["rate_factor"], "{:.4g}"),
        _number(row["kept_share"], "{:.2%}"),
        "sustained" if row["is_sustained"] else "not",
        _number(row["goodput_requests_per_s"], "{:.4g}"),
        _number(row["throughput_tokens_per_s"], "{:.4g}"),
        *(format_duration(row[key]) for key in durations),
        _number(row["gpu_busy_frac"], "{:.0%}"),
    )


def _number(value: object, pattern: str) -> str:
    return pattern.format(value) if isinstance(value, int | float) else "-"


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, Sequence)
    return [str(item) for item in value]
