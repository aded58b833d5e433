"""What the serving runtime itself takes: per layer, per step, per stall."""

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, left_out

OVERHEADS = "runtime overhead"
_NAMES = ("per_layer", "per_step", "per_stall")


def overheads(baseline: Baseline) -> Found:
    """None of them."""
    runtime = baseline.profile.runtime
    there = [name for name in _NAMES if (figure := getattr(runtime, name)) is not None and figure.value]
    if not there:
        return left_out(OVERHEADS, "the machine's runtime has no overhead of its own (runtime.per_layer, per_step, per_stall)")
    none = Change(
        knob=OVERHEADS,
        name="no overhead of the runtime",
        settings={f"runtime.{name}": "0 s" for name in there},
        figures={"factor": 0.0},
        is_ideal=True,
    )
    return Found(changes=[none])
