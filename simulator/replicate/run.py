"""Run the replications of a scenario, several at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.points.point import Point, PointResult
from simulator.points.run import run_points
from simulator.replicate.values import replicated
from simulator.scenario import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Replications:
    """What was run, how each replication differs, and what came out of each, in order."""

    values: Sequence[Values]
    summaries: Sequence[Mapping[str, object]]
    notes: Sequence[str]


def replicate(
    values: Values,
    source: str,
    count: int,
    *,
    jobs: int,
    store: Path | None = None,
    done: Callable[[str], None] | None = None,
) -> Replications:
    """Run a scenario `count` times, `jobs` at once; `store` is that of `simulator.points.run.run_points`.

    Raises InputError if any of the runs fails, saying which.
    """
    each, notes = replicated(values, source, count)
    points = [Point(values=one, labels={"seed": one["seed"]}) for one in each]

    def progress(result: PointResult) -> None:
        if done is not None:
            done(_name(result))

    results = run_points(points, store=store, jobs=jobs, progress=progress)
    return Replications(values=each, summaries=summaries_of(results, source), notes=notes)


def summaries_of(results: Sequence[PointResult], source: str) -> Sequence[Mapping[str, object]]:
    """Return the summaries of replications. Raises InputError if there is one without, naming its seed and the reason."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.summary is None:
            reasons.setdefault(result.traceback or result.reason, []).append(_name(result))
    if reasons:
        raise InputError(source, [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()])
    return [result.summary for result in results if result.summary is not None]


def _name(result: PointResult) -> str:
    return f"seed {result.point.labels['seed']}"
