"""How many machines serve a workload."""

from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, left_out

MACHINES = "machines"


def machines(baseline: Baseline) -> Found:
    """Twice as many, behind the router that there is, or one by turns."""
    if not baseline.is_service:
        return Found()
    if baseline.scenario.gpus is not None and baseline.scenario.gpus.count > 1:
        return left_out(MACHINES, "machines behind a router have one GPU each, and this one has several")
    now = 1 if baseline.scenario.replicas is None else baseline.scenario.replicas.count
    twice = Change(
        knob=MACHINES,
        name=f"{2 * now} machines",
        settings={"replicas.count": 2 * now},
        figures={"machines": float(2 * now)},
        price="machines cost money, and the load has to divide",
    )
    return Found(changes=[twice])
