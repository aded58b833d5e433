"""The table of a scenario's replications."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.durations import format_duration


def render_replications(facts: Mapping[str, object]) -> RenderableType:
    """Lay replications out."""
    return Group(*replication_parts(facts))


def replication_parts(facts: Mapping[str, object]) -> Sequence[RenderableType]:
    """Return a heading, a table with a row for each figure that varies, or is not 0, then warnings and remarks."""
    table = Table(title_justify="left")
    for heading in ("", "mean", "± (95 %)", "least", "most"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in _mapping(facts["measures"]).items():
        one = _mapping(found)
        values = one["values"]
        assert isinstance(values, Sequence)
        if any(values):
            table.add_row(title_of(name), *(written(name, value) for value in _cells(one, values)))
    parts: list[RenderableType] = [
        Text(f"{facts['model']} on {facts['hardware']}, {facts['replications']} replications", style="bold"),
        table,
    ]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in _texts(facts["warnings"])]
    return [*parts, *(Text(f"note: {note}") for note in _texts(facts["notes"]))]


def title_of(name: str) -> str:
    """Return a figure's name for people: `steady_ttft_p99_s` as `settled TTFT p99`."""
    words = name.removesuffix("_per_s").removesuffix("_s").removesuffix("_frac").split("_")
    known = {"steady": "settled", "ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e": "E2E", "slo": "SLO"}
    title = " ".join(known.get(word, word) for word in words)
    return f"{title}/s" if name.endswith("_per_s") else title


def written(name: str, value: object) -> str:
    """Write a figure with its unit."""
    if not isinstance(value, int | float):
        return "-"
    if name.endswith("_frac"):
        return f"{value:.1%}"
    return format_duration(value) if name.endswith("_s") and not name.endswith("_per_s") else f"{value:.4g}"


def _cells(one: Mapping[str, object], values: Sequence[float]) -> Sequence[object]:
    return one["mean"], one["half_width"], min(values), max(values)


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, Sequence)
    return [str(item) for item in value]
