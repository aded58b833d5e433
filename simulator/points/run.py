"""Run points: several at once, what is stored already not again, each result stored the moment that it is there."""

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hardware_profiles.errors import InputError
from simulator.inputs import resolve_inputs
from simulator.points.files import Files
from simulator.points.key import is_repeatable, result_key
from simulator.points.point import Point, PointResult
from simulator.points.store import Store, Stored
from simulator.points.workers import Workers, spread
from simulator.run import simulate
from simulator.scenario import build_scenario
from traces.errors import TraceError

Progress = Callable[[PointResult], None]
"""Called with each result as it comes, in no particular order."""

_SOURCE = "scenario"
_OF_ANOTHER = (
    "the machine that ran it has another moesim, other libraries or other files than this one; make them the same"
)
_LOST = "its process died; most often memory ran out: name a smaller max_tokens, or fewer jobs"


class PointRunner:
    """Runs points one after the other, and keeps the traces that they share open. `store` may be None.

    With `only_look` nothing is run: what is not stored has an empty reason and no summary.
    """

    def __init__(self, store: Path | None, *, only_look: bool = False) -> None:
        self._store = None if store is None else Store(store)
        self._only_look = only_look
        self._files = Files()

    def __call__(self, point: Point) -> PointResult:
        """Run a point, or take its result from the store; any fault becomes part of the result."""
        key = ""
        try:
            scenario = build_scenario(point.values, _SOURCE)
            inputs = resolve_inputs(scenario, _SOURCE, opened=self._files.trace)
            key = result_key(scenario, inputs, self._files) if is_repeatable(scenario) else ""
            stored = self._store.read(key) if self._store is not None and key else None
            is_reused = stored is not None
            if stored is None and self._only_look:
                return PointResult(point=point, summary=None, key=key)
            if stored is None:
                started_s = time.perf_counter()
                summary = json.loads(json.dumps(simulate(scenario, source=_SOURCE, inputs=inputs).summary))
                _pass_on_interrupt(summary)
                stored = Stored(summary=summary, wall_s=time.perf_counter() - started_s)
                if self._store is not None and key:
                    self._store.write(key, stored)
        except InputError as error:
            return PointResult(point=point, summary=None, key=key, reason="; ".join(error.faults))
        except TraceError as error:
            return PointResult(point=point, summary=None, key=key, reason=str(error))
        except Exception as error:  # one point's fault is no reason to lose the others
            reason = f"{type(error).__name__}: {error}"
            return PointResult(point=point, summary=None, key=key, reason=reason, traceback=traceback.format_exc())
        return PointResult(point=point, summary=stored.summary, key=key, is_reused=is_reused, wall_s=stored.wall_s)


def run_points(
    points: Sequence[Point],
    *,
    store: Path | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    ray: str | None = None,
) -> list[PointResult]:
    """Run points and return their results in the same order; those of equal values are run once.

    With a `store`, a folder, results that are there are taken from it, and new ones are put there as they come, by the
    process that ran them: whatever ends this call, it loses no more than the points that were running. Several calls may
    share one. Without one, nothing is kept. `jobs` processes run at once; with 1 it is this very process.

    With `ray`, the address of a cluster, its processes run the points, and this one stores what they send. moesim and all
    files have to be at the same places on each of its machines; results of another moesim, or of other files, are refused.

    What goes wrong with a point is told in its result and stops no other. Raises InputError for a store that cannot be
    written.
    """
    with PointPool(store=store, jobs=jobs, ray=ray) as pool:
        return pool.run(points, progress)


class PointPool:
    """Runs lists of points, one after the other, in the same processes: see `run_points`. To be left as a context."""

    def __init__(self, *, store: Path | None = None, jobs: int = 1, ray: str | None = None) -> None:
        if store is not None:
            Store(store).make()
        self._store = store
        self._jobs = jobs
        self._ray = ray
        self._workers = Workers(PointRunner(store), jobs=jobs, lost=_lost)

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes."""
        self._workers.__exit__(kind, error, trace)

    def run(self, points: Sequence[Point], progress: Progress | None = None) -> list[PointResult]:
        """Run points and return their results in the same order."""
        same: dict[str, list[int]] = {}
        for index, point in enumerate(points):
            same.setdefault(_written(point.values), []).append(index)
        groups = list(same.values())
        results: dict[int, PointResult] = {}

        def done(group: int, result: PointResult) -> None:
            for index in groups[group]:
                results[index] = replace(result, point=points[index])
                if progress is not None:
                    progress(results[index])

        tasks = [points[group[0]] for group in groups]
        if self._ray is None:
            self._workers.run(tasks, done)
        else:
            _run_on_ray(self._ray, tasks, store=self._store, jobs=self._jobs, done=done)
        return [results[index] for index in range(len(points))]


def _pass_on_interrupt(summary: Mapping[str, object]) -> None:
    """Raise KeyboardInterrupt where it has ended a service early: that is not the point's result."""
    service = summary.get("service")
    if isinstance(service, Mapping) and service["stopped_by"] == "interrupted":
        raise KeyboardInterrupt


def _run_on_ray(
    address: str, tasks: Sequence[Point], *, store: Path | None, jobs: int, done: Callable[[int, PointResult], None]
) -> None:
    """Look up here what is stored, and have the rest run by the cluster."""
    from simulator.points.on_ray import spread_on_ray

    looked = spread(PointRunner(store, only_look=True), tasks, jobs=jobs, lost=_lost)
    missing = []
    for index, result in enumerate(looked):
        if result.summary is None and not result.reason:
            missing.append(index)
        else:
            done(index, result)

    def ended(place: int, result: PointResult) -> None:
        wanted = looked[missing[place]].key
        if result.summary is not None and result.key != wanted:
            result = replace(result, summary=None, key=wanted, reason=_OF_ANOTHER)
        elif result.summary is not None and store is not None and wanted:
            Store(store).write(wanted, Stored(summary=result.summary, wall_s=result.wall_s))
        done(missing[place], result)

    if missing:
        spread_on_ray(PointRunner(None), [tasks[index] for index in missing], address=address, lost=_lost, done=ended)


def _written(values: Mapping[str, object]) -> str:
    return json.dumps(values, sort_keys=True, default=repr)


def _lost(point: Point) -> PointResult:
    return PointResult(point=point, summary=None, reason=_LOST)
