"""How many sequences decode together."""

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, LeftOut
from simulator.serving.choice import SchedulerChoice

BATCH = "batch"


def batch(baseline: Baseline) -> Found:
    """Half and twice as many; no more than there are."""
    if baseline.is_service:
        now = (baseline.scenario.scheduler or SchedulerChoice()).max_batch
        path, words = "scheduler.max_batch", "at most {} requests at once"
    else:
        now, path, words = baseline.scenario.batch, "batch", "batch {}"
    num_sequences = len(baseline.inputs.loop.sequences)
    changes: list[Change] = []
    out: list[LeftOut] = []
    for size in (now // 2, 2 * now):
        if size < 1:
            continue
        if not baseline.is_service and size > num_sequences:
            reason = f"{size} are not tried: the sequences of the run are {num_sequences}"
            out.append(LeftOut(knob=BATCH, reason=reason))
            continue
        changes.append(
            Change(knob=BATCH, name=words.format(size), settings={path: size}, figures={"batch": float(size)})
        )
    return Found(changes=changes, left_out=out)
