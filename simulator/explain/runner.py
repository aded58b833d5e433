"""Runs of the scenario that is explained, each with some settings: paired, since all draw from the same seed."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from simulator.points.point import Point, PointResult
from simulator.points.run import run_points
from simulator.scenario import set_path

WORTH_PROCESSES_S = 2.0
"""How long runs have to take together for processes of their own, which have to start first."""

Done = Callable[[str, int, int], None]
"""Called with (what is being run, runs done since, runs in all)."""


class Runner:
    """Runs a scenario's plain values with settings, `jobs` at once, and remembers what it has run."""

    def __init__(
        self,
        values: Mapping[str, object],
        *,
        store: Path | None,
        jobs: int,
        done: Done | None = None,
        fault: Callable[[str], object] | None = None,
    ) -> None:
        """Take the values; `fault` is called with the traceback of a run that failed by no fault of the input's."""
        self.values = values
        self._store, self._jobs, self._done, self._fault = store, jobs, done, fault
        self._run_s = 0.0
        self._known: dict[str, PointResult] = {}

    def run(self, what: str, settings: Sequence[Mapping[str, object]], total: int | None = None) -> list[PointResult]:
        """Return the result of each, in order. `total` is how many there will be of this kind in all, for progress."""
        points = [Point(values=changed(self.values, one)) for one in settings]
        new = [point for point in points if repr(point.values) not in self._known]

        def ended(result: PointResult) -> None:
            if result.traceback and self._fault is not None:
                self._fault(result.traceback)
            if self._done is not None:
                self._done(what, 1, total or len(new))

        jobs = 1 if len(new) * self._run_s < WORTH_PROCESSES_S else self._jobs
        results = run_points(new, store=self._store, jobs=jobs, progress=ended)
        self._run_s = max([self._run_s, *(result.wall_s for result in results)])
        self._known |= {repr(point.values): result for point, result in zip(new, results, strict=True)}
        return [self._known[repr(point.values)] for point in points]


def changed(values: Mapping[str, object], settings: Mapping[str, object]) -> dict[str, object]:
    """Return a scenario's plain values with some settings, as `--set` would have them. Raises InputError."""
    copy = deepcopy(dict(values))
    for path, value in settings.items():
        set_path(copy, path, value)
    return copy
