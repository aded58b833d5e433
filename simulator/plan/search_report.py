"""The answer of a search: as plain values, and on the terminal."""

from collections.abc import Mapping
from math import isinf

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.plan.promise import shown
from simulator.plan.search import Choice, Found
from simulator.sweep.command import command_of, flow_text

_CAUSE = "attribution_"


def search_facts(found: Found, settings: list[str]) -> dict[str, object]:
    """Return the answer as JSON has it."""
    breaking = found.breaking
    return {
        "promise": [str(bound) for bound in found.space.promise],
        "num_run": len(found.choices),
        "num_choices": None if isinf(found.size) else int(found.size),
        "cheapest": None if found.cheapest is None else _row(found, found.cheapest, settings),
        "headroom_frac": None if found.cheapest is None else dict(found.cheapest.headroom),
        "breaks_first": None
        if breaking is None
        else {
            "kept_rate_factor": breaking.kept,
            "broken_rate_factor": breaking.not_kept,
            "bounds": list(breaking.broken),
        },
        "front": [_row(found, choice, settings) for choice in found.front],
        "choices": [_row(found, choice, settings) for choice in found.choices],
    }


def render_search(found: Found, settings: list[str]) -> RenderableType:
    """Lay the answer out: the cheapest choice, how far it goes, and the front of cost against latency."""
    promised, *sentences = search_sentences(found)
    parts: list[RenderableType] = [Text(promised, style="bold"), *map(Text, sentences)]
    if found.cheapest is not None:
        parts.append(Text(command_of(found.space.sweep, found.cheapest.point, settings), style="dim"))
    parts.append(_front(found))
    reasons = dict.fromkeys(choice.reason for choice in found.choices if choice.reason)
    parts += [Text(f"could not be run: {reason}", style="yellow") for reason in reasons]
    return Group(*parts)


def search_sentences(found: Found) -> list[str]:
    """Return the answer in sentences: what is promised, how many choices keep it, and which of them is cheapest."""
    run = [choice for choice in found.choices if choice.figures]
    num_keeping = sum(choice.keeps for choice in run)
    failed = len(found.choices) - len(run)
    told = [
        f"Promised: {'; '.join(map(str, found.space.promise))}",
        f"{num_keeping} of {len(run)} choices keep it" + (f"; {failed} more could not be run" if failed else ""),
    ]
    if found.size > len(found.choices):
        of = "a continuum" if isinf(found.size) else f"{found.size:,.0f}"
        told.append(f"These were proposed out of {of}: one that was not run may be cheaper")
    if found.cheapest is None:
        closest = closest_choice(found)
        return [*told, f"None does. The closest is {_place(closest)}: {_headroom(found, closest)}"]
    return [
        *told,
        f"The cheapest is {_place(found.cheapest)}, at {found.cheapest.usd_per_hour:.4g} USD/h",
        _headroom(found, found.cheapest),
        _breaks(found),
        f"Most of its time: {_cause(found.cheapest)}",
    ]


def closest_choice(found: Found) -> Choice:
    """Return the choice whose worst bound is broken by least."""
    run = [choice for choice in found.choices if choice.figures]
    return max(run, key=lambda choice: min(choice.headroom.values(), default=float("-inf")))


def _front(found: Found) -> Table:
    metric = found.space.promise[0].metric
    table = Table(title=f"Nothing is both cheaper and better in {metric}", title_justify="left", box=SIMPLE)
    for heading in (*found.space.sweep.paths, "USD/h", metric, "promise"):
        table.add_column(heading, justify="right")
    for choice in found.front:
        table.add_row(
            *(flow_text(choice.point.labels[path]) for path in found.space.sweep.paths),
            f"{choice.usd_per_hour:.4g}",
            shown(metric, choice.figures[metric]),
            "kept" if choice.keeps else "broken",
        )
    return table


def _breaks(found: Found) -> str:
    breaking = found.breaking
    assert breaking is not None
    bounds = ", ".join(breaking.broken)
    if breaking.kept is None:
        return f"The tightest bound is {bounds}"
    if breaking.not_kept is None:
        return f"At {breaking.kept:.3g} times the load it still keeps all of it"
    return f"It takes {breaking.kept:.3g} times the load; at {breaking.not_kept:.3g} times {bounds} breaks first"


def _headroom(found: Found, choice: Choice) -> str:
    told = []
    for bound in found.space.promise:
        if bound.metric not in choice.figures:
            told.append(f"{bound.metric} has no value")
            continue
        share = choice.headroom[bound.metric]
        value = shown(bound.metric, choice.figures[bound.metric])
        told.append(f"{bound.metric} is {value}, {abs(share):.1%} {'to spare' if share >= 0 else 'beyond'}")
    return "; ".join(told)


def _cause(choice: Choice) -> str:
    spent = {
        name.removeprefix(_CAUSE).removesuffix("_s"): value
        for name, value in choice.figures.items()
        if name.startswith(_CAUSE) and name.endswith("_s") and not name.endswith("_ns")
    }
    most = max(spent, key=lambda name: spent[name])
    return f"{most.replace('_', ' ')} ({spent[most] / sum(spent.values()):.0%})"


def _place(choice: Choice) -> str:
    return ", ".join(f"{path} {flow_text(value)}" for path, value in choice.point.labels.items())


def _row(found: Found, choice: Choice, settings: list[str]) -> Mapping[str, object]:
    metrics = dict.fromkeys(bound.metric for bound in found.space.promise)
    return {
        "labels": dict(choice.point.labels),
        "usd_per_hour": choice.usd_per_hour,
        **{metric: choice.figures.get(metric) for metric in metrics},
        "keeps": choice.keeps,
        "reason": choice.reason,
        "command": command_of(found.space.sweep, choice.point, settings),
    }
