"""A quick plan on the terminal: does it fit, how fast, what to change first."""

from collections.abc import Sequence
from itertools import chain

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hardware_profiles.quantity import format_bytes
from simulator.durations import format_duration
from simulator.plan.quick import QuickPlan, gain
from simulator.plan.quick_memory import Memory

ROUTINGS = {
    "uniform": "uniform routing",
    "skewed": "skewed, sticky routing (assumed)",
    "recorded": "the recorded routing",
    "all hits": "no expert ever missing",
}
_SHOWN_ASSUMPTIONS = 8


def render_plan(plan: QuickPlan, title: str) -> RenderableType:
    """Lay a plan out."""
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text(verdict(plan)),
        *chain(*plan_sections(plan).values()),
    ]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in plan.warnings]
    parts.append(Text("assumed:", style="dim"))
    parts += [Text(f"  {text}", style="dim") for text in plan.assumptions[:_SHOWN_ASSUMPTIONS]]
    if len(plan.assumptions) > _SHOWN_ASSUMPTIONS:
        left = len(plan.assumptions) - _SHOWN_ASSUMPTIONS
        parts.append(Text(f"  and {left} figures of the machine that nobody has measured: see --json", style="dim"))
    return Group(*parts)


def plan_sections(plan: QuickPlan) -> dict[str, Sequence[RenderableType]]:
    """Return the tables of a plan, and remarks on them, by what they are about; a page has the same ones."""
    found: dict[str, Sequence[RenderableType]] = {"memory": [_memory_table(plan.memory)]}
    if plan.speeds:
        found["speed"] = [_speed_table(plan), Text(_range(plan))]
    if plan.changes:
        found["changes"] = [_change_table(plan)]
    elif not plan.memory.fits:
        said = "None of the changes that are tried makes it fit alone: see moesim plan --help for what to vary."
        found["changes"] = [Text(said)]
    return found


def verdict(plan: QuickPlan) -> str:
    """Say whether it fits, and where the experts are."""
    memory = plan.memory
    if memory.vram_short_bytes:
        return (
            f"Does not fit: VRAM is short by {format_bytes(memory.vram_short_bytes)} for the weights outside experts, the "
            f"KV cache and the {memory.smallest_experts} experts that a run needs at least"
            + (
                f"; RAM is short by {format_bytes(memory.ram_short_without_copies_bytes)} for the experts beyond it."
                if memory.ram_short_without_copies_bytes
                else "."
            )
        )
    if memory.ram_short_without_copies_bytes:
        return (
            f"Does not fit: what VRAM cannot hold of the experts is {format_bytes(memory.ram_short_without_copies_bytes)} "
            "more than RAM."
        )
    if memory.fits_without_offloading:
        return f"Fits without offloading: VRAM holds all {memory.num_experts:,} experts."
    share = memory.resident_experts / memory.num_experts
    return (
        f"Fits with offloading: VRAM holds {memory.resident_experts:,} of {memory.num_experts:,} experts ({share:.0%}); "
        "the others are fetched from RAM as they are asked for."
    )


def _memory_table(memory: Memory) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title="Memory", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("VRAM", justify="right", no_wrap=True)
    table.add_column("RAM", justify="right", no_wrap=True)
    table.add_column("")
    resident = memory.resident_experts * memory.expert_bytes
    in_ram = 0 if memory.fits_without_offloading else memory.all_experts_bytes
    rows: Sequence[tuple[str, int | None, int | None, str]] = (
        ("reserved", memory.reserve_bytes, None, "context, allocator"),
        ("weights outside experts", memory.non_expert_bytes, None, ""),
        ("KV cache", memory.kv_cache_bytes, None, ""),
        ("activations", memory.activation_bytes, None, ""),
        (
            "experts",
            resident,
            in_ram,
            f"{memory.num_experts:,} of {format_bytes(memory.expert_bytes)}; all: {format_bytes(memory.all_experts_bytes)}",
        ),
    )
    for name, in_vram, of_ram, remark in rows:
        table.add_row(name, _shown(in_vram), _shown(of_ram), remark)
    taken = memory.vram_bytes - memory.left_for_experts_bytes + resident
    table.add_row(
        "left",
        format_bytes(memory.vram_bytes - taken) if taken <= memory.vram_bytes else "-",
        format_bytes(memory.ram_bytes - in_ram) if in_ram <= memory.ram_bytes else "-",
        "",
    )
    table.add_row(
        "of",
        format_bytes(memory.vram_bytes),
        format_bytes(memory.ram_bytes),
        "" if memory.vram_short_bytes == memory.ram_short_bytes == 0 else "short: " + ", ".join(_short(memory)),
    )
    return table


def _short(memory: Memory) -> list[str]:
    found = [f"VRAM by {format_bytes(memory.vram_short_bytes)}"] if memory.vram_short_bytes else []
    if memory.ram_short_bytes:
        found.append(f"RAM by {format_bytes(memory.ram_short_bytes)} for a copy of every expert")
    return found


def _speed_table(plan: QuickPlan) -> Table:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title="Speed, by what is assumed of routing", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("hits", "TPOT", "tokens/s", "waiting for experts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, speed in plan.speeds.items():
        table.add_row(
            ROUTINGS[name],
            f"{speed.hit_frac:.1%}",
            format_duration(speed.tpot_s),
            f"{speed.tokens_per_s:.4g}",
            f"{speed.waiting_frac:.0%}",
        )
    return table


def _range(plan: QuickPlan) -> str:
    rates = [speed.tokens_per_s for speed in plan.speeds.values()]
    return f"Between {min(rates):.3g} and {max(rates):.3g} tokens/s, by how well the routing of your traffic can be cached."


def _change_table(plan: QuickPlan) -> Table:
    title = "What to change first" + (f", on {ROUTINGS[plan.judged_on]}" if plan.judged_on else ": what makes it fit")
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column("one change each", no_wrap=True)
    for heading in ("resident", "hits", "TPOT", "tokens/s", "times as fast"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("beside its price")
    for change in plan.changes:
        resident = f"{change.memory.resident_experts / change.memory.num_experts:.0%}"
        times, speed = gain(plan, change), change.speed
        if speed is None:
            table.add_row(change.knob.name, resident, "-", "-", "-", "-", change.reason or change.knob.price)
            continue
        table.add_row(
            change.knob.name,
            resident,
            f"{speed.hit_frac:.1%}",
            format_duration(speed.tpot_s),
            f"{speed.tokens_per_s:.4g}",
            "-" if times is None else f"{times:.2f}",
            change.knob.price,
        )
    return table


def _shown(num_bytes: int | None) -> str:
    return "" if num_bytes is None else format_bytes(num_bytes)
