"""Miss-ratio curves for people, spreadsheets and programs: a table at a few sizes, CSV rows, JSON."""

import csv
import io
import json
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hardware_profiles.quantity import format_bytes
from simulator.mrc.curves import BEST_SPLIT, LRU, Curve, ScopeCurves, plain

_HEADINGS = (
    "scope",
    "policy",
    "bank",
    "size_experts",
    "size_frac",
    "size_bytes",
    "accesses",
    "hits",
    "miss_ratio_frac",
)


def facts_json(about: Mapping[str, object], found: Sequence[ScopeCurves]) -> str:
    """Return all curves as JSON: counts, from which every ratio follows."""
    return json.dumps(dict(about) | {"scopes": [plain(scope) for scope in found]}, indent=1) + "\n"


def facts_csv(found: Sequence[ScopeCurves], bytes_each: int | None) -> str:
    """Return one row for each policy, scope (or bank) and size."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADINGS)
    for scope in found:
        for curve in scope.curves:
            for size, hits in zip(curve.sizes, curve.hits, strict=True):
                writer.writerow(
                    _row(scope.scope, curve.policy, "", size, scope.num_experts, bytes_each, scope.accesses, hits)
                )
        for bank in scope.banks:
            for size, hits in enumerate(bank.hits):
                num_experts = len(bank.hits) - 1
                writer.writerow(
                    _row(scope.scope, LRU, str(bank.bank), size, num_experts, bytes_each, bank.accesses, hits)
                )
    return text.getvalue()


def render(about: Mapping[str, object], found: Sequence[ScopeCurves], bytes_each: int | None) -> RenderableType:
    """Lay out, for each scope, the miss ratios at the chosen sizes, and where the knees are."""
    parts: list[RenderableType] = [Text(title_of(about), style="bold")]
    for scope in found:
        parts += [_table(scope, bytes_each), *(Text(line, style="dim") for line in remarks(scope, bytes_each))]
    parts += [Text(f"note: {note}") for note in _texts(about["notes"])]
    return Group(*parts)


def title_of(about: Mapping[str, object]) -> str:
    """Return one line that says of what the curves are."""
    bank = f"layer {about['layer']}, " if about["layer"] is not None else ""
    batch = f", batch {about['batch']}" if about["batch"] != 1 else ""
    return (
        f"Miss ratio of {about['model_of_trace']}: {bank}{about['num_tokens']:,} tokens of {about['num_sequences']:,} "
        f"sequences, top-{about['top_k']} of {about['num_experts_per_bank']} experts{batch}"
    )


def remarks(scope: ScopeCurves, bytes_each: int | None) -> Sequence[str]:
    """Return what a reader should know of a scope's curves: knees, first uses, how uneven the best split is."""
    lines = []
    lru = scope.curves[0]
    if scope.knees:
        named = []
        for size in scope.knees:
            hits = lru.hits[lru.sizes.index(size)]
            shown = f" ({format_bytes(size * bytes_each)})" if bytes_each else ""
            named.append(
                f"{size} experts{shown}, {size / scope.num_experts:.0%}: misses {1 - hits / scope.accesses:.1%}"
            )
        lines.append(f"knees of LRU: {'; '.join(named)}")
    lines.append(
        f"{scope.accesses:,} accesses in {scope.events:,} events; {scope.first_uses:,} are the first use of an expert, "
        "which every cache misses"
    )
    split = next((curve for curve in scope.curves if curve.policy == BEST_SPLIT), None)
    if split is not None:
        widest = max(range(len(split.sizes)), key=lambda at: max(split.splits[at]) - min(split.splits[at]))
        slots = split.splits[widest]
        lines.append(
            f"best split: LRU's fewest misses over all ways to divide the slots, the trace known; at {split.sizes[widest]} "
            f"experts a layer gets {min(slots)} to {max(slots)}"
        )
    return lines


def shown_sizes(scope: ScopeCurves, chosen: Sequence[int]) -> Sequence[int]:
    """Return the chosen sizes that the scope's curves have."""
    lru = scope.curves[0]
    return [size for size in chosen if lru.sizes[0] <= size <= lru.sizes[-1]]


def chosen_sizes(scope: ScopeCurves) -> Sequence[int]:
    """Return the sizes at which other curves than LRU's stand."""
    return scope.curves[-1].sizes


def miss_frac(scope: ScopeCurves, curve: Curve, size: int) -> float | None:
    """Return a curve's miss ratio at a size; None where it has none."""
    if size not in curve.sizes or not scope.accesses:
        return None
    return 1 - curve.hits[curve.sizes.index(size)] / scope.accesses


def _table(scope: ScopeCurves, bytes_each: int | None) -> Table:
    named = {"per_layer": "slots of its own for each layer", "global": "all layers compete for all slots"}
    table = Table(title=f"miss ratio, {named[scope.scope]}", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    headings = ["experts", "share", *(["cache"] if bytes_each else []), *(curve.policy for curve in scope.curves)]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for size in chosen_sizes(scope):
        ratios = [miss_frac(scope, curve, size) for curve in scope.curves]
        table.add_row(
            f"{size:,}",
            f"{size / scope.num_experts:.1%}",
            *([format_bytes(size * bytes_each)] if bytes_each else []),
            *("-" if ratio is None else f"{ratio:.2%}" for ratio in ratios),
        )
    return table


def _row(
    scope: str, policy: str, bank: str, size: int, num_experts: int, bytes_each: int | None, accesses: int, hits: int
) -> Sequence[object]:
    size_bytes = "" if bytes_each is None else size * bytes_each
    ratio = f"{1 - hits / accesses:.6f}" if accesses else ""
    return (scope, policy, bank, size, f"{size / num_experts:.6f}", size_bytes, accesses, hits, ratio)


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, list)
    return value
