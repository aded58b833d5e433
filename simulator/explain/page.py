"""An explanation as one self-contained HTML page: what to do, plots, and all figures as tables that sort."""

from collections.abc import Mapping, Sequence

import yaml

from simulator.durations import format_duration
from simulator.explain.figures import explanation_figures
from simulator.explain.metrics import METRIC
from simulator.explain.table import heading, headline, mapping, rows, shown, shown_metrics, signed, texts, title_of
from simulator.html_page import Cell, details, drawn, escaped, html_page, listed, paragraph, sortable_table

Facts = Mapping[str, object]


def explanation_page(facts: Facts) -> str:
    """Return the page of what `simulator.explain.explain.explain` gives."""
    objective = METRIC[str(mapping(facts["objective"])["name"])]
    parts = [paragraph(str(facts["source"])), paragraph(headline(facts)), "<h2>What to do</h2>", _advice(facts)]
    parts.append("<h2>What each change makes, and where the time goes</h2>")
    for index, (figure, caption) in enumerate(explanation_figures(facts)):
        parts += [drawn(figure, index, min_width=560), paragraph(caption)]
    names = shown_metrics(facts)
    headings = ["one change each", heading(objective.name), *(f"{heading(name)}, change" for name in names), "--set"]
    ran = [row for row in rows(facts["sensitivities"]) if row["status"] == "ok"]
    cells = [_change_cells(row, objective.name, names) for row in ran]
    parts += ["<h2>All changes</h2>", sortable_table(headings, cells)]
    failed = [row for row in (*rows(facts["sensitivities"]), *rows(facts["bounds"])) if row["status"] != "ok"]
    told = [f"{row.get('name') or row['words']}: {row['reason']}" for row in failed]
    told += [f"{row['knob']}: {row['reason']}" for row in rows(facts["left_out"])]
    parts += ["<h2>Left out</h2>", listed(told or ["nothing"])]
    parts += ["<h2>Idealised runs</h2>", _bounds(facts, objective.name)]
    for key, name in (
        ("where_the_time_went", "Time of the GPU stream"),
        ("where_requests_spent_theirs", "Time of requests"),
    ):
        if facts[key]:
            parts += [f"<h2>{name}</h2>", _times(rows(facts[key]))]
    parts += ["<h2>Warnings</h2>", listed(texts(facts["warnings"]) or ["none"])]
    assumed = [*texts(facts["assumptions"]), *texts(facts["assumptions_of_the_run"])]
    parts += ["<h2>Assumptions</h2>", listed(assumed)]
    scenario = yaml.safe_dump(facts["scenario"], sort_keys=False, allow_unicode=True)
    parts.append(details("The scenario that was explained", f"<pre>{escaped(scenario)}</pre>"))
    return html_page(f"Explained: {title_of(facts)}", parts)


def _advice(facts: Facts) -> str:
    items = []
    for row in rows(facts["advice"]):
        command = f"<br><code>{escaped(row['command'])}</code>" if row["command"] else ""
        items.append(f"<li>{escaped(row['text'])}{command}</li>")
    return f"<ol>{''.join(items)}</ol>"


def _change_cells(row: Mapping[str, object], objective: str, names: Sequence[str]) -> Sequence[Cell]:
    metrics, change = mapping(row["metrics"]), mapping(row["change_frac"])
    settings = ", ".join(texts(row["set"]))
    told = "; ".join(texts(row["new_warnings"]))
    return (
        (row["name"], str(row["name"]), told),
        (metrics[objective], shown(METRIC[objective], metrics[objective])),
        *((change[name], signed(change[name]), shown(METRIC[name], metrics[name])) for name in names),
        (settings, settings, str(row["command"])),
    )


def _bounds(facts: Facts, objective: str) -> str:
    cells: list[Sequence[Cell]] = []
    for row in rows(facts["bounds"]):
        if row["status"] != "ok":
            continue
        value, gain, closed = mapping(row["metrics"])[objective], row["gain_frac"], row["gap_closed_frac"]
        cells.append(
            (
                (row["words"], str(row["words"])),
                (value, shown(METRIC[objective], value)),
                (gain, signed(gain)),
                (closed, f"{closed:.0%}" if isinstance(closed, float) else "-"),
                (row["command"], ", ".join(texts(row["set"]))),
            )
        )
    return sortable_table(["with", heading(objective), "better by", "gap closed", "--set"], cells)


def _times(found: Sequence[Mapping[str, object]]) -> str:
    cells: list[Sequence[Cell]] = []
    for row in found:
        time_ns, share = row["time_ns"], row["frac"]
        assert isinstance(time_ns, int)
        cells.append(
            (
                (row["words"], str(row["words"])),
                (time_ns, format_duration(time_ns / 1e9)),
                (share, f"{share:.1%}"),
                (row["per_token_s"], format_duration(row["per_token_s"])),
            )
        )
    return sortable_table(["", "time", "share", "per token"], cells)
