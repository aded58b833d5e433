"""Knobs: what of a scenario or its machine is changed, one at a time, each in its own file.

A knob gives changes to try, or says why it cannot apply.
"""

from collections.abc import Callable, Sequence

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.batch import batch
from simulator.explain.knobs.cache import cache
from simulator.explain.knobs.change import Change, Found, LeftOut
from simulator.explain.knobs.cpu import cpu
from simulator.explain.knobs.gpu import gpu
from simulator.explain.knobs.link import link_bandwidth, link_latency
from simulator.explain.knobs.machines import machines
from simulator.explain.knobs.nvme import nvme
from simulator.explain.knobs.overheads import launches, overheads
from simulator.explain.knobs.policies import policies
from simulator.explain.knobs.prediction import prediction

KNOBS: Sequence[Callable[[Baseline], Found]] = (
    link_bandwidth,
    link_latency,
    cache,
    gpu,
    cpu,
    nvme,
    overheads,
    launches,
    prediction,
    batch,
    machines,
    policies,
)


def changes_of(baseline: Baseline) -> tuple[list[Change], list[LeftOut]]:
    """Return all changes that are worth a run, and the knobs that are left out with the reason."""
    found = [knob(baseline) for knob in KNOBS]
    return (
        [change for one in found for change in one.changes],
        [left for one in found for left in one.left_out],
    )


__all__ = ["KNOBS", "Change", "Found", "LeftOut", "changes_of"]
