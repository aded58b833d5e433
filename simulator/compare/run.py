"""Run the systems of a comparison, once or several times each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simulator.attempt import LOST, Attempt, attempt
from simulator.compare.choose import ALL_RESIDENT, values_for
from simulator.compare.service_bound import settings_of_bound
from simulator.inputs import resolve_inputs
from simulator.prepare import prepare
from simulator.replicate.values import replicated
from simulator.scenario import Values, build_scenario
from simulator.spread import Spread
from simulator.training import NoTrainingError
from traces.format import open_trace

Done = Callable[[str], None]
Task = tuple[str, Values, str]


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
    source: str,
    *,
    jobs: int,
    done: Done | None = None,
    replications: int | None = None,
) -> Comparison:
    """Run systems on a scenario's plain values, `jobs` at once. `done` is called with each name as it ends.

    With `replications`, each runs that often, the n-th time on the same requests as the others. Raises InputError where the
    scenario gives no such.
    """
    with_fit, notes = _set_apart(names, values, source, jobs=jobs)
    each: Sequence[Values] = [with_fit]
    remarks: Sequence[str] = ()
    if replications is not None:
        each, remarks = replicated(with_fit, source, replications)
    of_bound = settings_of_bound(with_fit, source) if ALL_RESIDENT in names else {}
    tasks = [
        ((name, at), (name, values_for(name, one) | (of_bound if name == ALL_RESIDENT else {}), source))
        for at, one in enumerate(each)
        for name in names
    ]
    spread = Spread[tuple[str, int], Task, Outcome](_run_task, lost=_lost)
    found = spread.results(tasks, jobs=jobs, done=None if done is None else lambda name: done(name[0]))
    rounds = [found[at : at + len(names)] for at in range(0, len(found), len(names))]
    several = replications is not None
    return Comparison(
        values=with_fit,
        outcomes=rounds[0],
        notes=[*notes, *remarks],
        replications=rounds if several else (),
        seeds=[build_scenario(one, source).seed for one in each] if several else (),
    )


def run_system(name: str, values: Values, source: str) -> Outcome:
    """Run one system; a fault becomes part of the outcome, as it is no reason to lose what the others say."""
    found: Attempt = attempt(values, f"{source}, system {name}")
    return Outcome(system=name, summary=found.summary, reason=found.reason, traceback=found.traceback)


def _run_task(task: Task) -> Outcome:
    return run_system(*task)


def learns(name: str, values: Values, source: str) -> bool:
    """Tell whether the system of some values, called `name`, cannot be built without recorded routing to learn from."""
    del name
    try:
        scenario = build_scenario(values, source)
        prepare(scenario, resolve_inputs(scenario, source), source)
    except Exception as error:  # any other fault is told when it is run
        return isinstance(error.__cause__, NoTrainingError)
    return False


def _set_apart(names: Sequence[str], values: Values, source: str, *, jobs: int) -> tuple[Values, Sequence[str]]:
    """Return the values that all systems run on: with half the sequences set apart where one learns and they set none."""
    if values.get("fit") is not None:
        return values, []
    tasks = [(name, (name, values_for(name, values), source)) for name in names]
    found = Spread[str, Task, bool](_learns_task, lost=_knows_nothing).results(tasks, jobs=jobs)
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


def _knows_nothing(name: str) -> bool:
    """Take a system whose probe died for one that learns nothing; its run tells what is wrong."""
    del name
    return False


def _learns_task(task: Task) -> bool:
    return learns(*task)


def _lost(name: tuple[str, int]) -> Outcome:
    return Outcome(system=name[0], summary=None, reason=LOST)
