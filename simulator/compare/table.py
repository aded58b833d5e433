"""The table that a comparison prints."""

from collections.abc import Collection, Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hardware_profiles.quantity import format_bytes
from simulator.compare.difference_table import render_differences
from simulator.compare.facts import BYTES, LOSSES, STALLS, Row, mapping, money_columns, rows_of, texts
from simulator.durations import format_duration

CAUSES = {
    "exposed_demand_fetch": "demand fetch",
    "exposed_late_prefetch": "late prefetch",
    "queued_behind_prefetch": "queued behind prefetch",
    "exposed_cpu_expert": "CPU",
    "exposed_nvme": "NVMe",
    "expert_compute": "expert kernels",
    "non_expert_compute": "attention and other layer work",
    "step_compute": "LM head, sampling",
    "runtime_overhead": "runtime overhead",
    "kv_swap": "KV cache copied out and back",
}
LOSS_NAMES = {
    "dropped_mass_frac": "dropped",
    "unlike_mass_frac": "unlike",
    "low_precision_mass_frac": "low prec.",
    "deferred_mass_frac": "late",
}
_LARGEST = 2


def render_comparison(facts: Mapping[str, object], title: str) -> RenderableType:
    """Lay a comparison out: its title, the table, what failed, warnings and remarks."""
    rows = rows_of(facts)
    parts: list[RenderableType] = [Text(title, style="bold"), _table(rows, is_service=facts["is_service"] is True)]
    if facts["replications"] is not None:
        parts.append(render_differences(mapping(facts["replications"]), rows, is_promised=_is_promised(facts)))
    parts += [Text(f"{row['system']} failed: {row['reason']}", style="red") for row in rows if row["status"] != "ok"]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in grouped(rows, "warnings")]
    parts += [Text(f"note: {note}") for note in texts(facts["notes"])]
    parts.append(Text(str(facts["place"]), style="dim"))
    return Group(*parts)


def grouped(rows: Sequence[Row], key: str) -> Sequence[str]:
    """Return the texts of all rows, each once, with the systems that it is about where these are not all."""
    systems: dict[str, list[str]] = {}
    for row in rows:
        for text in texts(row[key]):
            systems.setdefault(text, []).append(str(row["system"]))
    num_run = sum(row["status"] == "ok" for row in rows)
    return [text if len(about) == num_run else f"{text} ({', '.join(about)})" for text, about in systems.items()]


def largest_stalls(row: Row) -> str:
    """Name the largest causes of stalls, with their shares of the makespan."""
    makespan_ns = row["makespan_ns"]
    if not isinstance(makespan_ns, int) or not makespan_ns:
        return "-"
    stalls = sorted(((int(str(row[f"{cause}_ns"])), cause) for cause in STALLS), key=lambda item: -item[0])
    named = [f"{CAUSES[cause]} {stall_ns / makespan_ns:.0%}" for stall_ns, cause in stalls[:_LARGEST] if stall_ns]
    return ", ".join(named) or "-"


def losses(row: Row) -> str:
    """Name what was done to the gates' mass, as shares of it."""
    named = [
        f"{LOSS_NAMES[name]} {share:.2%}" for name in LOSSES if isinstance(share := row[name], int | float) and share
    ]
    return ", ".join(named) or ("see quality" if row["quality"] and row["status"] == "ok" else "-")


def number(value: object, pattern: str) -> str:
    """Write a number; a dash for none."""
    return pattern.format(value) if isinstance(value, int | float) else "-"


def _is_promised(facts: Mapping[str, object]) -> bool:
    return bool(mapping(facts["scenario"]).get("slo"))


def _table(rows: Sequence[Row], *, is_service: bool) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("system", no_wrap=True)
    money = money_columns(rows)
    first = ("goodput", "in SLO", "TTFT p50", "p99", "TPOT", "queue p99", "E2E", "tokens/s", "hits", "bytes")
    headings = first if is_service else ("place", "TPOT", "p99", "TTFT", "tokens/s", "hits", "bytes")
    for heading in (*headings, *money.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("largest stalls, of the time")
    table.add_column("gate mass lost")
    for row in rows:
        if row["status"] == "ok":
            cells = _cells_of_service(row, money) if is_service else _cells(row, money)
            table.add_row(*cells, style="dim" if row["is_reference"] else "")
    return table


def _cells_of_service(row: Row, money: Collection[str]) -> Sequence[str]:
    latencies = ("ttft_p50_s", "ttft_p99_s", "tpot_mean_s", "queueing_p99_s", "e2e_mean_s")
    name, *cells = _cells(row, money)
    return (
        name,
        number(row["goodput_requests_per_s"], "{:.4g}/s"),
        number(row["in_slo_frac"], "{:.1%}"),
        *(format_duration(row[key]) for key in latencies),
        *cells[-5 - len(money) :],
    )


def _cells(row: Row, money: Collection[str]) -> Sequence[str]:
    moved = sum(count for name in BYTES if isinstance(count := row[name], int))
    return (
        str(row["system"]),
        number(row["place"], "{:.2f}"),
        format_duration(row["tpot_mean_s"]),
        format_duration(row["tpot_p99_s"]),
        format_duration(row["ttft_mean_s"]),
        number(row["throughput_tokens_per_s"], "{:.4g}"),
        number(row["hit_frac"], "{:.1%}"),
        format_bytes(moved),
        *(number(row.get(key), "{:.3g}") for key in money),
        largest_stalls(row),
        losses(row),
    )


def title_of(facts: Mapping[str, object]) -> str:
    """Return one line that says what was compared."""
    common = mapping(facts["common"])
    if not common:
        return "Systems"
    share = common["cache_frac"]
    assert isinstance(share, float)
    return f"{common['model']} on {common['hardware']}, {common['cache_experts']} experts resident ({share:.1%})"
