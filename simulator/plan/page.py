"""A quick plan as one self-contained HTML page: what memory holds, how fast it will be, what to change first."""

from collections.abc import Mapping

from simulator.durations import format_duration
from simulator.html_page import COLOURS, escaped, listed, paragraph, plot_layout, plotted, plotted_page, side_by_side
from simulator.plan.quick import QuickPlan, gain
from simulator.plan.quick_memory import Memory
from simulator.plan.quick_report import ROUTINGS, plan_sections, verdict
from simulator.rich_html import parts_of

_GIB = 2**30
_REST = COLOURS[6]


def plan_page(plan: QuickPlan, title: str, command: str) -> str:
    """Return the page; the same plan gives the same bytes. `command` gives the plan again."""
    tables = {name: parts_of(shown) for name, shown in plan_sections(plan).items()}
    plots = {"memory": _memory_plot(plan.memory), "speed": _speed_plot(plan), "changes": _change_plot(plan)}
    parts = [paragraph(verdict(plan))]
    if plan.warnings:
        parts += ["<h2>Warnings</h2>", listed(plan.warnings)]
    for name, (heading, *rest) in tables.items():
        parts += [heading, side_by_side([plots[name]]) if plots[name] else "", *rest]
    parts += ["<h2>Assumptions</h2>", listed(plan.assumptions)]
    parts += ["<h2>Ask again</h2>", f"<pre>{escaped(command)}</pre>"]
    return plotted_page(f"Plan: {title}", parts)


def _memory_plot(memory: Memory) -> str:
    """Draw what VRAM and RAM hold, in layers of one bar each, beside what there is of them."""
    in_ram = 0 if memory.fits_without_offloading else memory.all_experts_bytes
    held: Mapping[str, tuple[int, int]] = {
        "reserved": (memory.reserve_bytes, 0),
        "weights outside experts": (memory.non_expert_bytes, 0),
        "KV cache": (memory.kv_cache_bytes, 0),
        "activations": (memory.activation_bytes, 0),
        "experts": (memory.resident_experts * memory.expert_bytes, in_ram),
    }
    taken = [sum(pair[at] for pair in held.values()) for at in range(2)]
    left = tuple(max(0, have - used) for have, used in zip((memory.vram_bytes, memory.ram_bytes), taken, strict=True))
    colours = [COLOURS[7], COLOURS[4], COLOURS[3], COLOURS[5], COLOURS[0]]
    traces: list[Mapping[str, object]] = [
        _bar(name, pair, colour) for (name, pair), colour in zip(held.items(), colours, strict=True)
    ]
    traces.append(_bar("left", left, "rgba(138,143,152,.25)"))
    layout = plot_layout("GiB", "", height=330)
    layout |= {
        "barmode": "stack",
        "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False},
        "shapes": [
            {
                "type": "line",
                "x0": have / _GIB,
                "x1": have / _GIB,
                "y0": at - 0.45,
                "y1": at + 0.45,
                "line": {"color": COLOURS[1], "width": 2},
            }
            for at, have in enumerate((memory.vram_bytes, memory.ram_bytes))
        ],
    }
    return plotted(traces, layout, "What VRAM and RAM hold; a line stands where each of them ends")


def _bar(name: str, num_bytes: tuple[int, ...], colour: str) -> Mapping[str, object]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": ["VRAM", "RAM"],
        "x": [value / _GIB for value in num_bytes],
        "marker": {"color": colour},
        "hovertemplate": f"{name}: %{{x:.4g}} GiB<extra></extra>",
    }


def _speed_plot(plan: QuickPlan) -> str:
    """Draw the speed by what is assumed of routing, slowest first, and the interval from end to end."""
    if not plan.speeds:
        return ""
    names = [ROUTINGS[name] for name in plan.speeds]
    rates = [speed.tokens_per_s for speed in plan.speeds.values()]
    told = [f"{speed.tokens_per_s:.4g}" for speed in plan.speeds.values()]
    interval: Mapping[str, object] = {
        "type": "scatter",
        "mode": "lines",
        "x": [min(rates)] * 2 + [None] + [max(rates)] * 2,
        "y": [names[0], names[-1], None, names[0], names[-1]],
        "line": {"color": _REST, "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
    }
    points: Mapping[str, object] = {
        "type": "scatter",
        "mode": "markers+text",
        "x": rates,
        "y": names,
        "text": told,
        "textposition": "top center",
        "customdata": [
            f"{speed.hit_frac:.1%} hits, TPOT {format_duration(speed.tpot_s)}" for speed in plan.speeds.values()
        ],
        "hovertemplate": "%{y}: %{text} tokens/s, %{customdata}<extra></extra>",
        "marker": {"color": COLOURS[0], "size": 12},
        "cliponaxis": False,
    }
    layout = plot_layout("tokens/s", "", height=110 + 60 * len(names)) | {
        "showlegend": False,
        "xaxis": {"title": {"text": "tokens/s"}, "rangemode": "tozero", "automargin": True},
        "yaxis": {
            "autorange": "reversed",
            "automargin": True,
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "tickfont": {"size": 12},
        },
    }
    return plotted([interval, points], layout, "Tokens per second by what is assumed of routing")


def _change_plot(plan: QuickPlan) -> str:
    """Draw how many times as fast each change makes it, the best on top; nothing where no change was timed."""
    gains = {change.knob.name: times for change in plan.changes if (times := gain(plan, change)) is not None}
    if not gains:
        return ""
    bars: Mapping[str, object] = {
        "type": "bar",
        "orientation": "h",
        "y": list(gains),
        "x": list(gains.values()),
        "text": [f"x {times:.2f}" for times in gains.values()],
        "hovertemplate": "%{y}: %{text}<extra></extra>",
        "marker": {"color": [COLOURS[0] if times > 1 else _REST for times in gains.values()]},
        "cliponaxis": False,
    }
    layout = plot_layout("times as fast", "", height=100 + 40 * len(gains)) | {
        "showlegend": False,
        "margin": {"l": 10, "r": 50, "t": 10, "b": 50},
        "xaxis": {"title": {"text": "times as fast as now (dotted)"}, "rangemode": "tozero", "automargin": True},
        "yaxis": {
            "autorange": "reversed",
            "automargin": True,
            "type": "category",
            "tickfont": {"size": 12},
            "showgrid": False,
        },
        "shapes": [
            {
                "type": "line",
                "x0": 1,
                "x1": 1,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": _REST, "dash": "dot"},
            }
        ],
    }
    return plotted([bars], layout, "How many times as fast each change makes it")
