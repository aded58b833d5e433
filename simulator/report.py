"""The table that a run prints."""

from collections.abc import Mapping, Sequence
from itertools import chain

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hardware_profiles.quantity import format_bytes
from simulator.durations import format_duration as format_duration
from simulator.replicas.table import replicas_table
from simulator.serving.steady_rows import HEADINGS, TOO_NARROW, steady_rows, steady_title

CAUSES = {
    "expert_compute": "expert kernels",
    "non_expert_compute": "attention and other layer work",
    "step_compute": "LM head, sampling",
    "runtime_overhead": "runtime overhead",
    "exposed_demand_fetch": "waiting for demand fetches",
    "exposed_late_prefetch": "waiting for late prefetches",
    "queued_behind_prefetch": "queueing behind prefetches",
    "exposed_cpu_expert": "experts on the CPU",
    "exposed_nvme": "waiting for NVMe",
    "all_to_all": "tokens among GPUs",
    "kv_swap": "KV cache copied out and back",
    "idle": "nothing to do",
}
_ELSEWHERE = {
    "cpu_experts": "experts computed by the CPU",
    "deferred_experts": "of these a layer late",
    "low_precision_experts": "experts in low precision",
    "experts_read_in_place": "experts read in place",
}
_TRAFFIC = {
    "h2d_demand_bytes": "H2D bytes, demand",
    "h2d_prefetch_bytes": "H2D bytes, prefetch",
    "h2d_low_precision_bytes": "H2D bytes, low precision",
    "h2d_in_place_bytes": "H2D bytes, read in place",
    "d2h_write_back_bytes": "D2H bytes, write-back",
}
_LOSSES = {
    "dropped_mass_frac": "gate mass dropped",
    "dropped_cubed_mass_frac": "mean cube of a token's part of it",
    "substituted_mass_frac": "gate mass substituted",
    "unlike_mass_frac": "of that, not alike",
    "substituted_cubed_mass_frac": "mean cube of a token's part of the substituted",
    "low_precision_mass_frac": "gate mass in low precision",
    "deferred_mass_frac": "gate mass a layer late",
    "dropped_picks": "picks dropped",
    "substituted_picks": "picks substituted",
}
_PARTS = {"gpu": "GPU", "cpu": "CPU", "host_memory": "host memory", "link": "link", "rest": "the rest"}


def print_summary(console: Console, summary: Mapping[str, object], title: str) -> None:
    """Print a run's summary for people. `summary` is what `simulator.metrics.summary.summarise` gives."""
    console.print(render_summary(summary, title))


def render_summary(summary: Mapping[str, object], title: str) -> RenderableType:
    """Lay a summary out: headline, latencies, cache and link, where the time goes, warnings."""
    parts: list[RenderableType] = [Text(title, style="bold"), *chain(*sections(summary).values())]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in warnings_of(summary)]
    num_assumed = len(assumptions_of(summary))
    if num_assumed:
        parts.append(Text(f"rests on {num_assumed} assumed figures: see assumptions in the JSON summary", style="dim"))
    return Group(*parts)


def sections(summary: Mapping[str, object]) -> dict[str, Sequence[RenderableType]]:
    """Return the tables of a summary, and remarks on them, by what they are about; a page has the same ones."""
    found: dict[str, Sequence[RenderableType]] = {"headline": [_headline(summary)], "latency": [_latencies(summary)]}
    if "service" in summary:
        found |= {"service": [_service(summary)], "steady": _steady(summary)}
    if "replicas" in summary:
        found["replicas"] = [replicas_table(_mapping(summary["replicas"]))]
    found |= {"attribution": [_attribution(summary)], "experts": [_cache_and_link(summary)]}
    if "host_cache" in summary:
        found["host_cache"] = [_host_cache(_mapping(summary["host_cache"]))]
    if "gpus" in summary:
        found["gpus"] = [_gpus(_mapping(summary["gpus"]))]
    loss = {key: value for key, value in _mapping(summary["loss"]).items() if value}
    quality = summary.get("quality")
    costs: list[RenderableType] = [_loss(loss)] if loss else []
    costs += [_quality(_mapping(quality))] if quality is not None else []
    if costs:
        found["loss"] = costs
    return found


def title_of(summary: Mapping[str, object]) -> str:
    """Return what a run was of: model, machine and policies."""
    policies = _mapping(summary["policies"])
    named = ", ".join(f"{kind} {_mapping(choice)['name']}" for kind, choice in policies.items())
    return f"{summary['model']} on {summary['hardware']}: {named}"


def warnings_of(summary: Mapping[str, object]) -> Sequence[str]:
    """Return what a run could not honour, or a reader should know before relying on it."""
    return _texts(summary["warnings"])


def assumptions_of(summary: Mapping[str, object]) -> Sequence[str]:
    """Return what a run rests on and nobody has measured."""
    return _texts(summary["assumptions"])


def _headline(summary: Mapping[str, object]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    rate = summary["throughput_tokens_per_s"]
    table.add_row("throughput", f"{rate:.4g} tokens/s" if isinstance(rate, float) else "-")
    table.add_row("tokens", f"{summary['tokens']} out, {summary['prefill_tokens']} prefilled, {summary['steps']} steps")
    table.add_row("makespan", format_duration(_number(summary["makespan_ns"]) / 1e9))
    for name, told in (("energy", _energy(summary)), ("price", _price(summary))):
        if told:
            table.add_row(name, told)
    return table


def _energy(summary: Mapping[str, object]) -> str:
    """Say what a run draws; nothing where the machine gives no power."""
    if summary["energy"] is None:
        return ""
    energy = _mapping(summary["energy"])
    parts = ", ".join(
        f"{_PARTS[name]} {_significant(energy_j)} J" for name, energy_j in _mapping(energy["by_resource_j"]).items()
    )
    per_token = energy["j_per_output_token"]
    missing = ", ".join(_PARTS[str(name)] for name in _texts(energy["not_counted"]))
    told = [
        f"{_significant(energy['total_j'])} J ({parts}{f'; without {missing}' if missing else ''})",
        f"{_significant(energy['mean_power_w'])} W on average" if energy["mean_power_w"] is not None else "",
        f"{_significant(per_token)} J per output token" if per_token is not None else "",
    ]
    return ", ".join(part for part in told if part)


def _price(summary: Mapping[str, object]) -> str:
    """Say what a run costs; nothing where the machine gives no price."""
    if summary["price"] is None:
        return ""
    price = _mapping(summary["price"])
    rates = (
        (price["usd_per_million_output_tokens"], "a million output tokens"),
        (price["usd_per_million_tokens"], "a million tokens in all"),
    )
    told = [f"{_significant(usd)} USD for {what}" for usd, what in rates if usd is not None]
    return ", ".join(told or [f"{_significant(price['total_usd'])} USD"])


def _significant(value: object) -> str:
    return f"{_number(value):.4g}"


def _latencies(summary: Mapping[str, object]) -> Table:
    table = Table(title="Latency", title_justify="left")
    for heading in ("", "mean", "p50", "p90", "p99"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("ttft", "tpot", "itl", "e2e"):
        values = _mapping(summary[f"{name}_s"])
        if values["mean"] is not None:
            table.add_row(name.upper(), *(format_duration(values[key]) for key in ("mean", "p50", "p90", "p99")))
    return table


def _service(summary: Mapping[str, object]) -> Table:
    """Lay out what a service did for each class of requests."""
    service = _mapping(summary["service"])
    ended = "partial: " if service["partial"] else ""
    title = (
        f"Requests: {service['finished']} of {service['arrived']} answered, {service['in_system_at_end']} left "
        f"({ended}{service['stopped_by']}); {service['preemptions']} preemptions, on average "
        f"{_number(service['mean_in_queue'] or 0):.3g} in the queue and {_number(service['mean_running'] or 0):.3g} running"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("class", overflow="fold")
    for heading in ("answered", "refused", "goodput", "in SLO", "queue\np50", "\np99", "TTFT\np50", "\np99"):
        table.add_column(heading, justify="right")
    for name, found in _mapping(service["classes"]).items():
        one = _mapping(found)
        queueing, ttft, share = _mapping(one["queueing_s"]), _mapping(one["ttft_s"]), one["in_slo_frac"]
        table.add_row(
            name,
            f"{one['finished']}",
            f"{one['refused']}",
            f"{_number(one['goodput_requests_per_s'] or 0):.4g}/s",
            "-" if share is None else f"{_number(share):.1%}",
            *(format_duration(values[key]) for values in (queueing, ttft) for key in ("p50", "p99")),
        )
    return table


def _steady(summary: Mapping[str, object]) -> Sequence[RenderableType]:
    """Lay out the settled metrics of a service, with their intervals."""
    steady = _mapping(_mapping(summary["service"])["steady"])
    table = Table(title=steady_title(steady), title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    rows = steady_rows(steady)
    for row in rows:
        table.add_row(*row)
    is_marked = any(row[2].endswith("*") for row in rows)
    return [table, Text(TOO_NARROW, style="dim")] if is_marked else [table]


def _attribution(summary: Mapping[str, object]) -> Table:
    what = "GPU stream, adds up to the makespan"
    if "replicas" in summary:
        what = f"all {_mapping(summary['replicas'])['count']} GPU streams, each as long as the makespan"
    table = Table(title=f"Where the time goes ({what})", title_justify="left")
    table.add_column("cause")
    for heading in ("time", "share", "per token"):
        table.add_column(heading, justify="right")
    whole_s = sum(map(_number, _mapping(summary["attribution_s"]).values()))
    tokens = _number(summary["tokens"])
    for cause, seconds in _mapping(summary["attribution_s"]).items():
        value = _number(seconds)
        if value:
            per_token = format_duration(value / tokens) if tokens else "-"
            table.add_row(CAUSES[cause], format_duration(value), f"{value / whole_s:.1%}", per_token)
    return table


def _cache_and_link(summary: Mapping[str, object]) -> Table:
    table = Table(title="Experts", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    cache, busy = _mapping(summary["cache"]), _mapping(summary["busy_frac"])
    size = f"{cache['experts']} experts, {format_bytes(_number(cache['bytes']))}, {_number(cache['frac']):.1%} of all"
    table.add_row("cache", size)
    table.add_row("accesses", f"{summary['accesses']}")
    for name in ("hits", "late_hits", "misses"):
        count, accesses = _number(summary[name]), _number(summary["accesses"])
        table.add_row(name.replace("_", " "), f"{count:.0f} ({count / accesses:.1%})" if accesses else "-")
    for name, heading in _ELSEWHERE.items():
        if summary[name]:
            table.add_row(heading, f"{summary[name]}")
    for name, heading in _TRAFFIC.items():
        num_bytes = _number(summary[name])
        if num_bytes or name == "h2d_demand_bytes":
            table.add_row(heading, format_bytes(num_bytes))
    prefetches = {key.replace("_", " "): _number(count) for key, count in _mapping(summary["prefetches"]).items()}
    if any(prefetches.values()):
        table.add_row("prefetches", ", ".join(f"{value:.0f} {key}" for key, value in prefetches.items()))
    table.add_row("busy", f"GPU {_number(busy['gpu']):.1%}, H2D link {_number(busy['h2d']):.1%}")
    return table


def _host_cache(host: Mapping[str, object]) -> Table:
    """Lay out what host memory held, and what was read from NVMe."""
    table = Table(title="Host memory above NVMe", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    size = f"{host['experts']} experts, {format_bytes(_number(host['bytes']))}, {_number(host['frac']):.1%} of all"
    table.add_row("cache", size)
    names = ("hits", "late_hits", "misses")
    accesses = sum(_number(host[name]) for name in names)
    for name in names:
        count = _number(host[name])
        table.add_row(name.replace("_", " "), f"{count:.0f} ({count / accesses:.1%})" if accesses else "-")
    table.add_row("NVMe bytes", format_bytes(_number(host["nvme_read_bytes"])))
    if host["reads_ahead"]:
        table.add_row("read ahead", f"{host['reads_ahead']} experts, {host['reads_ahead_used']} of them used")
    table.add_row("NVMe busy", f"{_number(host['nvme_busy_frac'] or 0):.1%}")
    return table


def _gpus(gpus: Mapping[str, object]) -> Table:
    """Lay out what each of several GPUs did."""
    exchange, upstream = _mapping(gpus["all_to_all"]), _mapping(gpus["upstream"])
    imbalance = _mapping(gpus["imbalance"])["expert_tokens"]
    title = (
        f"GPUs: experts {gpus['experts']} ({_mapping(gpus['homes'])['method']}), peers {gpus['peers']}; "
        f"{format_bytes(_number(exchange['bytes']))} among them, upstream used to "
        f"{_number(upstream['used_frac'] or 0):.1%}, busiest {_number(imbalance or 0):.2f} of the mean"
    )
    table = Table(title=title, title_justify="left")
    for heading in (
        "GPU",
        "busy",
        "link\nbusy",
        "hits",
        "misses",
        "H2D",
        "from\npeers",
        "all to\nall",
        "waits",
    ):
        table.add_column(heading, justify="right")
    each = gpus["each"]
    assert isinstance(each, Sequence)
    for one in map(_mapping, each):
        busy, spent = _mapping(one["busy_frac"]), _mapping(one["attribution_ns"])
        table.add_row(
            f"{one['gpu']}",
            *(f"{_number(busy[name] or 0):.1%}" for name in ("gpu", "h2d")),
            f"{one['hits']}",
            f"{one['misses']}",
            format_bytes(_number(one["h2d_bytes"])),
            format_bytes(_number(one["peer_bytes"])),
            *(format_duration(_number(spent[name]) / 1e9) for name in ("all_to_all", "barrier")),
        )
    return table


def _loss(loss: Mapping[str, object]) -> Table:
    table = Table(title="What it costs the output", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, heading in _LOSSES.items():
        if name in loss:
            value = loss[name]
            table.add_row(heading, f"{_number(value):.3%}" if name.endswith("_frac") else f"{value}")
    return table


def _quality(quality: Mapping[str, object]) -> Text:
    low, mid, high = (_number(_mapping(quality["perplexity_ratio"])[name]) for name in ("low", "mid", "high"))
    beyond = "; beyond what was measured" if quality["is_extrapolated"] else ""
    return Text(f"perplexity x {mid:.3f} ({low:.3f} to {high:.3f}), as on {quality['measured_on']}{beyond}")


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, Sequence)
    return [str(item) for item in value]
