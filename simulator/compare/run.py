"""Run the systems of a comparison, each as a point, several at once.

Results do not depend on how many run at once: each run is by itself, and they are put back into their order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simulator.compare.choose import Values, values_for
from simulator.inputs import resolve_inputs
from simulator.points.point import Point, PointResult
from simulator.points.run import run_points
from simulator.points.workers import spread
from simulator.prepare import prepare
from simulator.scenario import build_scenario
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
    """The outcomes in the order of the systems asked for, the scenario's plain values that all ran on, and remarks."""

    values: Values
    outcomes: Sequence[Outcome]
    notes: Sequence[str]


def compare(names: Sequence[str], values: Values, *, jobs: int, done: Done | None = None) -> Comparison:
    """Run systems on a scenario's plain values, `jobs` at once. `done` is called with each name as it ends."""
    with_fit, notes = _set_apart(names, values, jobs=jobs)
    points = [Point(values=values_for(name, with_fit), labels={"system": name}) for name in names]

    def progress(result: PointResult) -> None:
        if done is not None:
            done(str(result.point.labels["system"]))

    results = run_points(points, jobs=jobs, progress=progress)
    return Comparison(values=with_fit, outcomes=[_outcome(result) for result in results], notes=notes)


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
