"""What is paid again and again beside the work: the runtime's own time per layer, step and wait, and kernel launches."""

from operator import attrgetter

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, left_out
from simulator.explain.knobs.gpu import uses_roofline

OVERHEADS, LAUNCHES = "runtime overhead", "kernel launches"
_NONE = {
    "runtime.per_layer": "0 s",
    "runtime.per_step": "0 s",
    "runtime.per_stall": "0 s",
    "runtime.per_cpu_join": "0 s",
    "runtime.slowed_by_cpu_experts": "0 %",
    "runtime.per_lookahead": "0 s",
    "runtime.slowed_by_copies": "0 %",
    "cpu.slowed_by_copies": "0 %",
}


def overheads(baseline: Baseline) -> Found:
    """None of the runtime's, and nothing lost by copies or by experts on the CPU."""
    figures = {path: attrgetter(path)(baseline.profile) for path in _NONE}
    there = [path for path, figure in figures.items() if figure is not None and figure.value]
    if not there:
        return left_out(OVERHEADS, f"the machine's runtime has none of its own ({', '.join(_NONE)})")
    none = Change(
        knob=OVERHEADS,
        name="no overhead of the runtime",
        settings={path: _NONE[path] for path in there},
        figures={"factor": 0.0},
        is_ideal=True,
    )
    return Found(changes=[none])


def launches(baseline: Baseline) -> Found:
    """No time for launching kernels."""
    if not uses_roofline(baseline):
        return left_out(LAUNCHES, "the machine states how long kernels take, their launches are not known apart")
    if not baseline.profile.gpu.launch.value:
        return left_out(LAUNCHES, "they take no time on this machine")
    none = Change(
        knob=LAUNCHES,
        name="no time for launching kernels",
        settings={"gpu.launch": "0 s"},
        figures={"factor": 0.0},
        is_ideal=True,
    )
    return Found(changes=[none])
