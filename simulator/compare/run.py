"""Run the systems of a comparison, once or several times each: every run is a point, and several go at once.

Results do not depend on how many run at once: each run is by itself, and they are put back into their order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.compare.choose import ALL_RESIDENT, values_for
from simulator.compare.service_bound import settings_of_bound
from simulator.inputs import resolve_inputs
from simulator.points.point import Point, PointResult
from simulator.points.run import run_points
from simulator.points.workers import spread
from simulator.prepare import prepare
from simulator.replicate.values import replicated
from simulator.scenario import Values, build_scenario
from simulator.training import NoTrainingError
from traces.format import open_trace

Done = Callable[[str], None]

_SOURCE = "scenario"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one system: the summary of its run, or why there is none.

    `traceback` is there where the fault is not the input's.
    """

    system: str
    summary: Mapping[str, object] | None
    reason: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The outcomes in the order of the systems asked for, the scenario's plain values that all ran on, and remarks.

    With several replications, `outcomes` are those of the first, and `replications` those of all, in order; `seeds` are
    theirs.
    """

    values: Values
    outcomes: Sequence[Outcome]
    notes: Sequence[str]
    replications: Sequence[Sequence[Outcome]] = ()
    seeds: Sequence[int] = ()


def compare(
    names: Sequence[str],
    values: Values,
    *,
    jobs: int,
    done: Done | None = None,
    replications: int | None = None,
    store: Path | None = None,
    source: str = _SOURCE,
) -> Comparison:
    """Run systems on a scenario's plain values, `jobs` at once. `done` is called with each name as it ends.

    With `replications`, each runs that often, the n-th time on the same requests as the others; `store` is that of
    `simulator.points.run.run_points`. Raises InputError, about `source`, where the scenario gives no such replications.
    """
    with_fit, notes = _set_apart(names, values, jobs=jobs)
    each: Sequence[Values] = [with_fit]
    remarks: Sequence[str] = ()
    if replications is not None:
        each, remarks = replicated(with_fit, source, replications)
    of_bound = settings_of_bound(with_fit, source) if ALL_RESIDENT in names else {}
    points = [
        Point(
            values=values_for(name, one) | (of_bound if name == ALL_RESIDENT else {}),
            labels={"system": name, "seed": one.get("seed", 0)},
        )
        for one in each
        for name in names
    ]

    def progress(result: PointResult) -> None:
        if done is not None:
            done(str(result.point.labels["system"]))

    outcomes = [_outcome(result) for result in run_points(points, store=store, jobs=jobs, progress=progress)]
    rounds = [outcomes[at : at + len(names)] for at in range(0, len(outcomes), len(names))]
    several = replications is not None
    return Comparison(
        values=with_fit,
        outcomes=rounds[0],
        notes=[*notes, *remarks],
        replications=rounds if several else (),
        seeds=[build_scenario(one, source).seed for one in each] if several else (),
    )


def learns(values: Values) -> bool:
    """Tell whether the system of some values cannot be built without recorded routing to learn from."""
    try:
        scenario = build_scenario(values, _SOURCE)
        prepare(scenario, resolve_inputs(scenario, _SOURCE), _SOURCE)
    except Exception as error:  # any other fault is told when it is run
        return isinstance(error.__cause__, NoTrainingError)
    return False


def _set_apart(names: Sequence[str], values: Values, *, jobs: int) -> tuple[Values, Sequence[str]]:
    """Return the values that all systems run on: with half the sequences set apart where one learns and they set none."""
    if values.get("fit") is not None:
        return values, []
    tasks = [values_for(name, values) for name in names]
    found = spread(learns, tasks, jobs=jobs, lost=_knows_nothing)
    learners = [name for name, needs in zip(names, found, strict=True) if needs]
    if not learners:
        return values, []
    trace = open_trace(str(values["trace"]))
    half = trace.num_sequences // 2
    if not half:
        return values, [f"{trace.path} has one sequence, so that nothing can be learned by {', '.join(learners)}"]
    left, asked = trace.num_sequences - half, values.get("sequences")
    notes = [
        f"the first {half} of the {trace.num_sequences} sequences are set apart for fitting, and run by no system, because "
        f"these learn: {', '.join(learners)}"
    ]
    if isinstance(asked, int) and asked > left:
        notes.append(f"{left} sequences are left to run, of the {asked} asked for")
        values = values | {"sequences": left}
    return values | {"fit": {"sequences": half}}, notes


def _outcome(result: PointResult) -> Outcome:
    return Outcome(
        system=str(result.point.labels["system"]),
        summary=result.summary,
        reason=result.reason,
        traceback=result.traceback,
    )


def _knows_nothing(values: Values) -> bool:
    """Take a system whose probe died for one that learns nothing; its run tells what is wrong."""
    del values
    return False
