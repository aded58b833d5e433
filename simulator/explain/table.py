"""An explanation on the terminal: where the time went, what each change makes, knees, bounds, and what to do."""

import shlex
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hardware_profiles.quantity import format_bytes
from simulator.durations import format_duration
from simulator.explain.metrics import METRIC, Metric

_SHOWN = ("tpot_mean_s", "tpot_p99_s", "ttft_mean_s", "throughput_tokens_per_s", "goodput_requests_per_s")
_HEADINGS = {
    "tpot_mean_s": "TPOT",
    "tpot_p50_s": "p50",
    "tpot_p99_s": "p99",
    "itl_p99_s": "ITL p99",
    "ttft_mean_s": "TTFT",
    "ttft_p99_s": "TTFT p99",
    "e2e_mean_s": "E2E",
    "throughput_tokens_per_s": "tokens/s",
    "goodput_requests_per_s": "goodput/s",
}

Facts = Mapping[str, object]
Row = Mapping[str, object]


def render_explanation(facts: Facts) -> RenderableType:
    """Lay an explanation out."""
    objective = METRIC[str(mapping(facts["objective"])["name"])]
    parts: list[RenderableType] = [Text(title_of(facts), style="bold"), Text(headline(facts))]
    parts.append(_time_table("Where the time of the GPU went", rows(facts["where_the_time_went"])))
    if facts["where_requests_spent_theirs"]:
        parts.append(_time_table("Where requests spent theirs", rows(facts["where_requests_spent_theirs"])))
    parts.append(_change_table(facts, objective))
    parts += [Text(f"  left out: {row['knob']}: {row['reason']}", style="dim") for row in rows(facts["left_out"])]
    parts.append(_bound_table(facts, objective))
    parts.append(_advice_table(rows(facts["advice"])))
    parts += [Text(f"warning: {warning}", style="yellow") for warning in texts(facts["warnings"])]
    parts.append(Text("assumed:", style="dim"))
    parts += [Text(f"  {text}", style="dim") for text in texts(facts["assumptions"])]
    return Group(*parts)


def title_of(facts: Facts) -> str:
    """Return one line that says what was run."""
    run = mapping(facts["as_it_is"])
    cache = mapping(run["cache"])
    share, size = cache["frac"], cache["bytes"]
    assert isinstance(share, float)
    assert isinstance(size, int)
    return (
        f"{run['model']} on {run['hardware']}, {cache['experts']} experts resident ({share:.1%}, {format_bytes(size)}), "
        f"{'a service' if run['is_service'] else 'batch ' + str(run['batch'])}"
    )


def headline(facts: Facts) -> str:
    """Return the figures of the run as it is, in one line."""
    run = mapping(facts["as_it_is"])
    told = [
        f"{METRIC[name].words} {shown(METRIC[name], value)}"
        for name, value in mapping(run["metrics"]).items()
        if name in _SHOWN and value is not None
    ]
    hits = run["hit_frac"]
    return ", ".join([*told, *([f"{hits:.1%} hits"] if isinstance(hits, float) else [])])


def shown(metric: Metric, value: object) -> str:
    """Write a metric; a dash for none."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.4g}/s" if metric.is_rate else format_duration(value)


def signed(value: object) -> str:
    """Write a change as per cent with its sign; a dash for none."""
    return f"{value:+.1%}" if isinstance(value, int | float) else "-"


def shown_metrics(facts: Facts) -> list[str]:
    """Return the metrics that tables show: those that the run has, with the one that it is judged by."""
    metrics = mapping(mapping(facts["as_it_is"])["metrics"])
    objective = str(mapping(facts["objective"])["name"])
    return [name for name, value in metrics.items() if value is not None and (name in _SHOWN or name == objective)]


def heading(name: str) -> str:
    """Return the short name of a metric."""
    return _HEADINGS[name]


def _time_table(title: str, found: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in ("time", "share", "per token"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        time_ns, share = row["time_ns"], row["frac"]
        assert isinstance(time_ns, int)
        assert isinstance(share, float)
        table.add_row(
            str(row["words"]), format_duration(time_ns / 1e9), f"{share:.1%}", format_duration(row["per_token_s"])
        )
    return table


def _change_table(facts: Facts, objective: Metric) -> Table:
    title = f"One change each, by {objective.words}"
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    names = shown_metrics(facts)
    table.add_column(heading(objective.name), justify="right", no_wrap=True)
    for name in names:
        table.add_column(f"{heading(name)}, change", justify="right", no_wrap=True)
    is_lossy = any(row["lost_mass_frac"] for row in rows(facts["sensitivities"]))
    if is_lossy:
        table.add_column("mass lost", justify="right", no_wrap=True)
    table.add_column("--set")
    for row in rows(facts["sensitivities"]):
        if row["status"] != "ok":
            none = "-" * (1 + len(names) + is_lossy)
            table.add_row(str(row["name"]), *none, f"failed: {row['reason']}", style="dim")
            continue
        change, metrics = mapping(row["change_frac"]), mapping(row["metrics"])
        value = shown(objective, metrics[objective.name])
        changes = (signed(change[name]) for name in names)
        lost = [f"{row['lost_mass_frac']:.1%}"] if is_lossy else []
        table.add_row(str(row["name"]), value, *changes, *lost, ", ".join(texts(row["set"])))
    return table


def _bound_table(facts: Facts, objective: Metric) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title="Idealised runs", title_justify="left")
    table.add_column("with", no_wrap=True)
    for name in (heading(objective.name), "this run loses", "gap closed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows(facts["bounds"]):
        if row["status"] != "ok":
            table.add_row(str(row["words"]), "-", "-", "-", str(row["reason"]), style="dim")
            continue
        closed, gain = row["gap_closed_frac"], row["gain_frac"]
        table.add_row(
            str(row["words"]),
            shown(objective, mapping(row["metrics"])[objective.name]),
            f"{gain:.1%}" if isinstance(gain, float) else "-",
            f"{closed:.0%}" if isinstance(closed, float) else "-",
            "",
        )
    return table


def _advice_table(found: Sequence[Row]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), title="What to do", title_justify="left")
    table.add_column(justify="right", style="dim")
    table.add_column()
    for place, row in enumerate(found, start=1):
        settings = shlex.join(word for text in texts(row["set"]) for word in ("--set", text))
        table.add_row(f"{place}.", Text(str(row["text"])))
        if settings:
            table.add_row("", Text(settings, style="dim"))
    return table


def mapping(value: object) -> Row:
    """Return a mapping as one."""
    assert isinstance(value, Mapping)
    return value


def rows(value: object) -> Sequence[Row]:
    """Return a list of rows as one."""
    assert isinstance(value, Sequence)
    return value


def texts(value: object) -> Sequence[str]:
    """Return a list of texts as one."""
    assert isinstance(value, Sequence)
    return [str(item) for item in value]
