"""Lay a run out as a page: figures, where the time goes, latencies, experts, the service, and what it all rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import yaml
from rich.table import Table

from hardware_profiles.quantity import format_bytes
from simulator.html_page import details, escaped, listed, paragraph, plotted_page, side_by_side
from simulator.report import assumptions_of, sections, title_of, warnings_of
from simulator.rich_html import parts_of, table_part
from simulator.run import RunResult
from simulator.run_page.latency import latency_plots
from simulator.run_page.layers import missed_bytes_plot, outcomes_plot
from simulator.run_page.over_time import over_time_plots
from simulator.run_page.time_spent import COLOURS_TOLD, attribution_plot, time_by_class_plot, time_by_layer_plot
from simulator.serving.choice import SloChoice

_MEMORY = {
    "capacity_bytes": "GPU memory",
    "reserve_bytes": "reserved",
    "non_expert_bytes": "weights outside experts",
    "kv_cache_bytes": "KV cache",
    "activation_bytes": "activations",
    "left_for_experts_bytes": "left for the expert cache",
}
_PROVENANCE = {
    "moesim_version": "moesim",
    "trace": "trace",
    "trace_sha256": "its SHA-256",
    "trace_model": "recorded from",
    "trace_source": "source of the trace",
    "hardware": "machine",
    "hardware_sha256": "SHA-256 of its figures",
    "model": "model",
}


def run_page(
    result: RunResult,
    *,
    command: str,
    scenario: Mapping[str, object],
    provenance: Mapping[str, object],
    files: Sequence[str] = (),
) -> str:
    """Return the page of a run; the same run gives the same bytes.

    `command` gives the run again, `scenario` is its plain values as a file beside the page would have them, `files` are what
    lies beside the page.
    """
    summary = result.summary
    title, _, policies = title_of(summary).partition(": ")
    tables = {name: parts_of(shown) for name, shown in sections(summary).items()}
    parts = [paragraph(str(result.scenario.description))] if result.scenario.description else []
    parts += [paragraph(policies), *tables.pop("headline"), *_warnings(summary)]
    *before, table = tables.pop("attribution")
    parts += [*before, attribution_plot(_numbers(summary["attribution_ns"])), paragraph(COLOURS_TOLD), table]
    parts += [*tables.pop("latency"), side_by_side(latency_plots(result.latencies, summary))]
    service = tables.pop("service", None)
    if service is not None:
        found = _mapping(summary["service"])
        parts += [*service, *_promises(result.scenario.slo, _mapping(found["classes"]))]
        parts += [time_by_class_plot(_mapping(found["classes"])), *tables.pop("steady")]
        parts += ["<h2>Over time</h2>", side_by_side(over_time_plots(_mapping(found["over_time"])))]
    bytes_each = _number(summary["expert_bytes"])
    plots = [outcomes_plot(result.layers, bytes_each), missed_bytes_plot(result.layers, bytes_each)]
    parts += [_with_plots(tables.pop("experts"), plots), time_by_layer_plot(result.layers)]
    for rest in tables.values():
        parts += rest
    parts += ["<h2>Memory of a GPU</h2>", _pairs(_memory(summary))]
    parts += ["<h2>Assumptions</h2>", listed(assumptions_of(summary) or ["none"])]
    parts += _again(command, scenario, provenance, files)
    return plotted_page(title, [part for part in parts if part])


def _warnings(summary: Mapping[str, object]) -> list[str]:
    warnings = warnings_of(summary)
    return ["<h2>Warnings</h2>", listed(warnings)] if warnings else []


def _with_plots(table: Sequence[str], plots: Sequence[str]) -> str:
    """Put plots between the heading of a table, with its remarks, and the table."""
    *before, last = table
    return "".join([*before, side_by_side(plots), last])


def _promises(slos: Mapping[str, SloChoice], classes: Mapping[str, object]) -> list[str]:
    """Lay out what classes are promised, and how many of their requests missed which of it."""
    promised = [(name, slo) for name, slo in slos.items() if name in classes]
    if not promised:
        return []
    table = Table()
    names = [item.name for item in fields(SloChoice)]
    for heading in ("class", *(f"{name.upper()} within" for name in names), "kept", "missed"):
        table.add_column(heading)
    for name, slo in promised:
        one = _mapping(classes[name])
        missed = {promise: count for promise, count in _mapping(one["missed"]).items() if count}
        bounds = [getattr(slo, promise) for promise in names]
        table.add_row(
            name,
            *(str(bound) if bound is not None else "-" for bound in bounds),
            f"{one['in_slo']} of {one['finished']} answered",
            ", ".join(f"{promise.upper()} {count}" for promise, count in missed.items()) or "none",
        )
    return ["<h2>Promises</h2>", table_part(table)]


def _memory(summary: Mapping[str, object]) -> dict[str, str]:
    """Say what the first GPU's memory is divided into; a service's KV cache grows within what is left."""
    memory = _mapping(summary["memory"])
    said = {name: memory[key] for key, name in _MEMORY.items()}
    if "service" in summary:
        service = _mapping(summary["service"])
        left = said.pop(_MEMORY["left_for_experts_bytes"])
        del said[_MEMORY["kv_cache_bytes"]]
        said |= {
            "left for experts and KV cache": left,
            "KV cache, at most": service["kv_capacity_bytes"],
            "KV cache, at its peak": service["kv_peak_bytes"],
        }
    return {name: format_bytes(_number(value)) for name, value in said.items()}


def _again(
    command: str, scenario: Mapping[str, object], provenance: Mapping[str, object], files: Sequence[str]
) -> list[str]:
    """Say how to run it again, and what it depended on."""
    text = yaml.safe_dump(dict(scenario), sort_keys=False, allow_unicode=True)
    links = ", ".join(f'<a href="{escaped(name)}">{escaped(name)}</a>' for name in files)
    beside = [f"<p>Beside this page: {links}.</p>"] if files else []
    if any(name.startswith("timeline") for name in files):
        beside.append(
            paragraph("The timeline is to be opened in https://ui.perfetto.dev, which keeps it on your machine.")
        )
    return [
        "<h2>Run it again</h2>",
        f"<pre>{escaped(command)}</pre>",
        paragraph(
            "In the folder where it was run; or save the scenario beside this page, and give moesim run its name."
        ),
        details("The scenario, as resolved", f"<pre>{escaped(text)}</pre>"),
        *beside,
        "<h2>What it depended on</h2>",
        _pairs({name: provenance[key] for key, name in _PROVENANCE.items() if provenance.get(key)}),
    ]


def _pairs(values: Mapping[str, object]) -> str:
    table = Table(show_header=False)
    table.add_column()
    table.add_column()
    for name, value in values.items():
        table.add_row(name, str(value))
    return table_part(table)


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _numbers(value: object) -> Mapping[str, int]:
    assert isinstance(value, Mapping)
    return value


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
