"""Run the replications of a scenario, several at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hardware_profiles.errors import InputError
from simulator.attempt import LOST, Attempt, attempt
from simulator.replicate.values import replicated
from simulator.scenario import Values
from simulator.spread import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Replications:
    """What was run, how each replication differs, and what came out of each, in order."""

    values: Sequence[Values]
    attempts: Sequence[Attempt]
    notes: Sequence[str]


def replicate(
    values: Values, source: str, count: int, *, jobs: int, done: Callable[[str], None] | None = None
) -> Replications:
    """Run a scenario `count` times, `jobs` at once. Raises InputError if any of the runs fails, saying which."""
    each, notes = replicated(values, source, count)
    tasks = [(f"seed {one['seed']}", (one, source)) for one in each]
    spread = Spread[str, tuple[Values, str], Attempt](_attempt, lost=_lost)
    attempts = spread.results(tasks, jobs=jobs, done=done)
    reasons: dict[str, list[str]] = {}
    for (name, _), found in zip(tasks, attempts, strict=True):
        if found.summary is None:
            reasons.setdefault(found.traceback or found.reason, []).append(name)
    if reasons:
        raise InputError(source, [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()])
    return Replications(values=each, attempts=attempts, notes=notes)


def _attempt(task: tuple[Values, str]) -> Attempt:
    return attempt(*task)


def _lost(name: str) -> Attempt:
    del name
    return Attempt(summary=None, reason=LOST)
