"""How many sequences decode together."""

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, LeftOut
from simulator.serving.choice import SchedulerChoice

BATCH = "batch"


def batch(baseline: Baseline) -> Found:
    """Half and twice as many; no more than there are."""
    if baseline.is_service:
        now = (baseline.scenario.scheduler or SchedulerChoice()).max_batch
        path, most, words = "scheduler.max_batch", None, "at most {} requests at once"
    else:
        now, path, words = baseline.scenario.batch, "batch", "batch {}"
        most = len(baseline.inputs.loop.sequences)
    changes, out = [], []
    for size in (now // 2, 2 * now):
        if size < 1:
            continue
        if most is not None and size > most:
            reason = f"{size} are not tried: the run has {most} sequences"
            out.append(LeftOut(knob=BATCH, reason=reason))
            continue
        changes.append(
            Change(knob=BATCH, name=words.format(size), settings={path: size}, figures={"batch": float(size)})
        )
    return Found(changes=changes, left_out=out)
