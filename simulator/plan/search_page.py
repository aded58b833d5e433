"""The answer of a search as one self-contained HTML page: all its choices, to be explored, the best one chosen."""

from simulator.explorer import explorer_page
from simulator.explorer.page import View
from simulator.plan.search import Choice, Found
from simulator.plan.search_report import closest_choice, search_sentences
from simulator.sweep.command import command_of
from simulator.sweep.rows import cell

_COST = "cost_usd_per_hour"


def search_page(found: Found, settings: list[str], command: str) -> str:
    """Return the page; the same answer gives the same bytes. `settings` were given as `--set`, `command` asks again.

    It starts with cost against the first figure of the promise, whose limits are drawn, at the cheapest choice that keeps
    them, or the one that comes closest.
    """
    metric = found.space.promise[0].metric
    best = found.cheapest or closest_choice(found)
    start: dict[str, object] = {"metric": metric, "y": metric, "x": _COST, "at": str(found.choices.index(best))}
    return explorer_page(
        [_row(found, choice, settings) for choice in found.choices],
        axes=found.space.sweep.paths,
        title=f"Plan: {found.space.sweep.path.stem}",
        notes=[". ".join(search_sentences(found)) + ".", f"Asked with: {command}"],
        view=View(start=start, limits={bound.metric: bound.limit for bound in found.space.promise}),
    )


def _row(found: Found, choice: Choice, settings: list[str]) -> dict[str, object]:
    return {
        **{path: cell(value) for path, value in choice.point.labels.items()},
        "status": "ok" if choice.figures else "failed",
        "reason": choice.reason,
        _COST: choice.usd_per_hour,
        "promise": "" if not choice.figures else "kept" if choice.keeps else "broken",
        **{f"headroom_{metric}_frac": share for metric, share in choice.headroom.items()},
        **choice.figures,
        "command": command_of(found.space.sweep, choice.point, settings),
    }
