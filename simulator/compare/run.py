"""Run the systems of a comparison, several at once, each in a process of its own where more than one may run.

Results do not depend on how many run at once: each run is by itself, and they are put back into their order.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from hardware_profiles.errors import InputError
from simulator.compare.choose import Values, values_for
from simulator.inputs import resolve_inputs
from simulator.prepare import prepare
from simulator.run import simulate
from simulator.scenario import build_scenario
from simulator.training import NoTrainingError
from traces.errors import TraceError
from traces.format import open_trace

Result = TypeVar("Result")
Done = Callable[[str], None]


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


def compare(names: Sequence[str], values: Values, source: str, *, jobs: int, done: Done | None = None) -> Comparison:
    """Run systems on a scenario's plain values, `jobs` at once. `done` is called with each name as it ends."""
    with_fit, notes = _set_apart(names, values, source, jobs=jobs)
    tasks = [(name, values_for(name, with_fit), source) for name in names]
    outcomes = _spread(run_system, tasks, jobs=jobs, done=done, lost=_lost)
    return Comparison(values=with_fit, outcomes=outcomes, notes=notes)


def run_system(name: str, values: Values, source: str) -> Outcome:
    """Run one system; a fault becomes part of the outcome."""
    try:
        scenario = build_scenario(values, f"{source}, system {name}")
        return Outcome(system=name, summary=simulate(scenario, source=source).summary)
    except InputError as error:
        return Outcome(system=name, summary=None, reason="; ".join(error.faults))
    except TraceError as error:
        return Outcome(system=name, summary=None, reason=str(error))
    except Exception as error:  # one system's fault is no reason to lose what the others say
        reason = f"{type(error).__name__}: {error}"
        return Outcome(system=name, summary=None, reason=reason, traceback=traceback.format_exc())


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
    tasks = [(name, values_for(name, values), source) for name in names]
    found = _spread(learns, tasks, jobs=jobs, done=None, lost=_knows_nothing)
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


def _spread(
    work: Callable[[str, Values, str], Result],
    tasks: Sequence[tuple[str, Values, str]],
    *,
    jobs: int,
    done: Done | None,
    lost: Callable[[str], Result],
) -> Sequence[Result]:
    """Return what `work` makes of each task, in order; `lost` says what becomes of one whose process dies."""
    results: dict[str, Result] = {}

    def finished(name: str, result: Result) -> None:
        if name in results:
            return
        results[name] = result
        if done is not None:
            done(name)

    if jobs == 1 or len(tasks) == 1:
        for task in tasks:
            finished(task[0], work(*task))
    else:
        _spread_over_processes(work, tasks, jobs, finished)
        for task in tasks:  # whose process died, or that of another beside it: each once more, by itself
            if task[0] not in results:
                _spread_over_processes(work, [task], 1, finished)
            if task[0] not in results:
                finished(task[0], lost(task[0]))
    return [results[name] for name, _, _ in tasks]


def _spread_over_processes(
    work: Callable[[str, Values, str], Result],
    tasks: Sequence[tuple[str, Values, str]],
    jobs: int,
    finished: Callable[[str, Result], None],
) -> None:
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn")) as pool:
        running: dict[Future[Result], str] = {}
        try:
            for task in tasks:
                running[pool.submit(work, *task)] = task[0]
            for future in as_completed(running):
                finished(running[future], future.result())
        except BrokenProcessPool:
            for future, name in running.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    finished(name, future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _knows_nothing(name: str) -> bool:
    """Take a system whose probe died for one that learns nothing; its run tells what is wrong."""
    del name
    return False


def _lost(name: str) -> Outcome:
    reason = "its process died; most often memory ran out: name a smaller max_tokens, or --jobs 1"
    return Outcome(system=name, summary=None, reason=reason)
