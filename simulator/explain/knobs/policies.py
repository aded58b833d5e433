"""Two changes of policy that any engine could make, where the run fetches on demand: those that the quick plan tries."""

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, LeftOut

PREFETCH, MISS = "prefetch", "miss"


def policies(baseline: Baseline) -> Found:
    """Prefetch by gate lookahead in place of none; missing experts on the CPU in place of fetching."""
    changes: list[Change] = []
    out: list[LeftOut] = []
    if not baseline.count("misses"):
        return Found(left_out=[LeftOut(knob=knob, reason="no expert is missing") for knob in (PREFETCH, MISS)])
    if baseline.policy(PREFETCH) == "none":
        recorded = baseline.inputs.trace.lookahead_distances
        changes.append(
            Change(
                knob=PREFETCH,
                name="prefetch by gate lookahead",
                settings={"prefetch": "gate_lookahead"},
                price="needs a runtime that looks ahead"
                + ("" if recorded or baseline.scenario.lookahead else "; its recall is published for other models"),
            )
        )
    else:
        out.append(LeftOut(knob=PREFETCH, reason=f"{baseline.policy(PREFETCH)} prefetches already"))
    if baseline.policy(MISS) == "fetch":
        changes.append(
            Change(
                knob=MISS,
                name="missing experts on the CPU",
                settings={"miss": "cpu"},
                price="the CPU is busy",
            )
        )
    else:
        out.append(LeftOut(knob=MISS, reason=f"miss: {baseline.policy(MISS)} stands in its place"))
    return Found(changes=changes, left_out=out)
