"""A comparison as one self-contained HTML page: plots, a table that sorts, what each system is, what it all rests on."""

from collections.abc import Collection, Mapping, Sequence

import yaml

from hardware_profiles.quantity import format_bytes
from simulator.compare.choose import described
from simulator.compare.difference_table import DIFFERENCE_HEADINGS, difference_cells
from simulator.compare.facts import BYTES, Row, lost_mass_frac, mapping, money_columns, rows_of, texts
from simulator.compare.figures import comparison_figures
from simulator.compare.table import grouped, largest_stalls, losses, number, title_of
from simulator.durations import format_duration
from simulator.html_page import Cell, details, drawn, escaped, html_page, listed, paragraph, sortable_table

_FIRST = ("system", "place", "TPOT", "p99", "TTFT", "tokens/s", "hits", "bytes")
_LAST = ("largest stalls", "gate mass lost")
_FIRST_OF_SERVICE = (
    "system",
    "goodput/s",
    "in SLO",
    "TTFT p50",
    "p99",
    "TPOT",
    "p99",
    "queue p50",
    "p99",
    "E2E",
    "tokens/s",
    "hits",
    "bytes",
)
_OF_SERVICE = (
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_mean_s",
    "tpot_p99_s",
    "queueing_p50_s",
    "queueing_p99_s",
    "e2e_mean_s",
)
_CAPTION_OF_SERVICE = "From arrival to the first token: the median, and the 99th percentile."
_CAPTIONS = (
    "Dotted: on_demand, and the oracles. Grey: what systems are held against. Bars of more than three times the median "
    "may be cut off; their text says how long they are.",
    "Where the time of the GPU stream goes; all parts together are the makespan.",
    "Down is faster, left is truer to the model; those that none beats in both have their names, the others tell it to the "
    "pointer. Slower ones than three times the median are left out. What a system loses otherwise stands with its "
    "description.",
)


def comparison_page(facts: Mapping[str, object]) -> str:
    """Return the page of what `simulator.compare.facts.comparison_facts` gives."""
    rows = rows_of(facts)
    parts = [paragraph(str(facts["source"])), *(paragraph(note) for note in texts(facts["notes"]))]
    is_service = facts["is_service"] is True
    captions = (_CAPTION_OF_SERVICE, *_CAPTIONS) if is_service else _CAPTIONS
    for index, (figure, caption) in enumerate(zip(comparison_figures(facts), captions, strict=True)):
        parts += [drawn(figure, index, min_width=560), paragraph(caption)]
    ran = [row for row in rows if row["status"] == "ok"]
    money = money_columns(ran)
    headings = (*(_FIRST_OF_SERVICE if is_service else _FIRST), *money.values(), *_LAST)
    cells = [_cells_of_service(row, money) if is_service else _cells(row, money) for row in ran]
    parts += ["<h2>All systems</h2>", sortable_table(headings, cells)]
    if facts["replications"] is not None:
        found = mapping(facts["replications"])
        parts += [
            f"<h2>Against {escaped(found['against'])}, over {escaped(found['count'])} replications</h2>",
            sortable_table(DIFFERENCE_HEADINGS, difference_cells(found, rows)),
            paragraph(str(found["how"])),
        ]
    parts.append(paragraph(str(facts["place"])))
    parts += [
        f'<p class="bad">{escaped(row["system"])} failed: {escaped(row["reason"])}</p>'
        for row in rows
        if row["status"] != "ok"
    ]
    parts += ["<h2>What each system is</h2>", *(_described(row) for row in rows)]
    for heading, key in (("Warnings", "warnings"), ("Assumptions", "assumptions")):
        parts += [f"<h2>{heading}</h2>", listed(grouped(rows, key) or ["none"])]
    scenario = yaml.safe_dump(facts["scenario"], sort_keys=False, allow_unicode=True)
    parts.append(details("The scenario that all ran on", f"<pre>{escaped(scenario)}</pre>"))
    return html_page(f"Systems compared: {title_of(facts)}", parts)


def _cells(row: Row, money: Collection[str]) -> Sequence[Cell]:
    moved = {name: count for name in BYTES if isinstance(count := row[name], int) and count}
    by_cause = ", ".join(f"{name.removesuffix('_bytes')} {format_bytes(count)}" for name, count in moved.items())
    outcomes = f"{row['hits']} hits, {row['late_hits']} late, {row['misses']} misses, {row['cpu_experts']} on the CPU"
    latencies = [(row[key], format_duration(row[key])) for key in ("tpot_mean_s", "tpot_p99_s", "ttft_mean_s")]
    return (
        (row["system"], str(row["system"]), described(str(row["system"])).description),
        (row["place"], number(row["place"], "{:.2f}")),
        *latencies,
        (row["throughput_tokens_per_s"], number(row["throughput_tokens_per_s"], "{:.4g}")),
        (row["hit_frac"], number(row["hit_frac"], "{:.1%}"), outcomes),
        (sum(moved.values()), format_bytes(sum(moved.values())), by_cause),
        *((row.get(key), number(row.get(key), "{:.3g}")) for key in money),
        (largest_stalls(row), largest_stalls(row)),
        (lost_mass_frac(row), losses(row), str(row["quality"])),
    )


def _cells_of_service(row: Row, money: Collection[str]) -> Sequence[Cell]:
    name, *cells = _cells(row, money)
    answered = (
        f"{row['finished']} of {row['arrived']} answered, {row['refused']} refused, {row['preemptions']} preemptions"
    )
    return (
        name,
        (row["goodput_requests_per_s"], number(row["goodput_requests_per_s"], "{:.4g}"), answered),
        (row["in_slo_frac"], number(row["in_slo_frac"], "{:.1%}")),
        *((row[key], format_duration(row[key])) for key in _OF_SERVICE),
        *cells[-5 - len(money) :],
    )


def _described(row: Row) -> str:
    system = described(str(row["system"]))
    told = {"Source": system.source, "The output loses": system.quality, "Differs from it": system.differs}
    terms = "".join(f"<dt>{heading}</dt><dd>{escaped(text)}</dd>" for heading, text in told.items() if text)
    settings = yaml.safe_dump(dict(system.settings), sort_keys=False)
    return details(f"{system.name}: {system.description}", f"<dl>{terms}</dl><pre>{escaped(settings)}</pre>")
