"""A scenario's workload at another rate: the same requests, closer together or further apart."""

from collections.abc import Mapping
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.scenario import Scenario, Values
from simulator.workload.choice import ClosedLoopChoice, WorkloadChoice, read_choice
from simulator.workload.quantities import parse_rate


def at_rate(values: Mapping[str, object], factor: float) -> Values:
    """Return a scenario's plain values with all of its arrivals `factor` times as fast."""
    workload = values["workload"]
    assert isinstance(workload, Mapping)
    changed = dict(workload)
    if workload.get("rate") is not None:
        changed["rate"] = f"{float(parse_rate(workload['rate'])) * factor:.9f} requests/s"
    else:
        changed["rate_factor"] = float(workload.get("rate_factor") or 1.0) * factor
    return {**values, "workload": changed}


def require_scalable(scenario: Scenario, source: str | Path) -> None:
    """Raise InputError where there is no rate to change, or no end to the requests."""
    if scenario.workload is None:
        raise InputError(source, "has no workload; say in workload what arrives, as in examples/service.yaml")
    choice = read_choice(scenario.workload, f"{source}: workload")
    if isinstance(choice.arrivals, ClosedLoopChoice):
        raise InputError(
            source,
            f"workload.arrivals: closed_loop has no rate to change, as its {choice.arrivals.users} users wait for answers; "
            "use an open process such as poisson",
        )
    stop = scenario.stop
    is_bounded = stop is not None and any((stop.requests, stop.tokens, stop.time, stop.wall_time))
    if not is_bounded and not _ends(choice):
        raise InputError(source, "workload: its requests have no end; name workload.requests, 2000 or more as a rule")


def _ends(choice: WorkloadChoice) -> bool:
    if choice.file is not None or choice.requests is not None or choice.stop is not None:
        return True
    return choice.merge is not None and all(_ends(part) for part in choice.merge)
