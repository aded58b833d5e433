"""moesim from Python: run one scenario, sweep many. `import simulator` has these names.

ran = simulator.run("examples/demo.yaml", max_tokens=500, **{"cache.frac": 0.5})
ran.summary["throughput_tokens_per_s"]

swept = simulator.sweep("examples/demo.yaml", {"cache.frac": [0.25, 0.5], "eviction": ["lru", "lfu"]}, max_tokens=500)
swept.to_frame()
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import read_yaml
from simulator.notebook.given import Given, given_values, lay_over, plain_value
from simulator.notebook.ran import Ran
from simulator.notebook.swept import Swept
from simulator.points.run import Progress, run_points
from simulator.run import simulate
from simulator.scenario import Scenario, build_scenario, plain
from simulator.sweep.command import command_of, flow_text
from simulator.sweep.file import Sweep, parse_sweep
from simulator.sweep.points import sweep_points
from simulator.sweep.rows import sweep_rows

__all__ = ["Scenario", "run", "sweep"]

_IN_A_PROGRAM = Path("sweep")


def run(scenario: Given, /, **settings: object) -> Ran:
    """Simulate one scenario: a file's path, a mapping as such a file has it, or a `Scenario`.

    Settings replace fields: `batch=4`, `eviction={"name": "lru"}`, `eviction="my_policy:Fading"`; those with dots are given
    as `**{"cache.frac": 0.5, "link.h2d.bandwidth": "50 GB/s"}`. Paths in a file are relative to the file, others to the
    current folder. Raises InputError and TraceError for what is wrong, before anything is run.
    """
    values, source = given_values(scenario, settings)
    return Ran(simulate(build_scenario(values, source), source=source))


def sweep(
    scenario: Given,
    axes: Mapping[str, object] | None = None,
    /,
    *,
    zipped: Sequence[Mapping[str, object]] = (),
    sample: Mapping[str, object] | None = None,
    constraints: Sequence[str] = (),
    metrics: Sequence[str] = (),
    jobs: int | None = 1,
    store: str | Path | None = None,
    progress: Progress | None = None,
    **settings: object,
) -> Swept:
    """Run a scenario at many points: `axes` maps paths to values, as in a sweep file; without, `scenario` is such a file.

    `zipped` (the file's key zip), `sample`, `constraints` and `metrics` are those of a sweep file, and go with `axes`.
    Settings replace fields of the scenario before it is varied, as in `run`.

    `jobs` processes run at once, None: one for each core. With more than one, a script has its work below
    `if __name__ == "__main__":`, as each process imports it again; a notebook needs no such line. Policies of your own then
    come from a module that can be imported, not from a cell. With a `store`, a folder, each result is kept as it comes, and
    the next call takes it from there; `progress` is called with each result.

    What is wrong with single points becomes their rows' `reason`. Raises InputError for what is wrong with the sweep, and
    where no point could be run.
    """
    if jobs is not None and jobs < 1:
        raise InputError(
            "jobs", f"{jobs} is not a number of runs at once; name 1 or more, or None for one on each core"
        )
    processes = jobs or os.cpu_count() or 1
    if processes > 1 and _is_imported_again():
        raise RuntimeError(
            "sweep was reached as one of its processes imported this script again: put what the script runs below "
            '`if __name__ == "__main__":`, or give jobs=1'
        )
    if axes is None:
        if zipped or sample is not None or constraints or metrics:
            raise InputError("sweep", "zipped, sample, constraints and metrics go with axes; a sweep file has its own")
        read = _of_file(scenario)
    else:
        read = _of_axes(scenario, axes, zipped=zipped, sample=sample, constraints=constraints, metrics=metrics)
    base = dict(read.base)
    lay_over(base, settings)
    drawn = sweep_points(read, base)
    results = run_points(drawn.points, store=None if store is None else Path(store), jobs=processes, progress=progress)
    if all(result.summary is None for result in results):
        raise InputError(
            read.path, list(dict.fromkeys(f"no point could be run: {result.reason}" for result in results))
        )
    texts = [f"{path}={flow_text(plain_value(value))}" for path, value in settings.items()]
    try:
        rows = sweep_rows(results, metrics=read.metrics, command=lambda point: command_of(read, point, texts))
    except ValueError as error:
        raise InputError(read.path, f"metrics: {error}") from None
    return Swept(rows, axes=read.paths)


def _is_imported_again() -> bool:
    """Tell whether a process of `multiprocessing` is only importing the script that it was started from."""
    again = sys.modules.get("__mp_main__")
    return again is not None and sys.modules.get("__main__") is not again


def _of_file(given: Given) -> Sweep:
    """Read a sweep that is given by itself: a file, or its keys."""
    if isinstance(given, str | Path):
        return parse_sweep(read_yaml(Path(given)), Path(given))
    if isinstance(given, Mapping) and "axes" in given:
        return parse_sweep(_plain(given), _IN_A_PROGRAM)
    raise InputError("sweep", 'has no axes; write sweep(scenario, {"cache.frac": [0.25, 0.5]}), or give a sweep file')


def _of_axes(
    given: Given,
    axes: Mapping[str, object],
    *,
    zipped: Sequence[Mapping[str, object]],
    sample: Mapping[str, object] | None,
    constraints: Sequence[str],
    metrics: Sequence[str],
) -> Sweep:
    """Put a sweep together as its file would have it."""
    values = {
        "scenario": str(given) if isinstance(given, str | Path) else _plain(_plain_scenario(given)),
        "axes": _plain(axes),
        "zip": [_plain(group) for group in zipped],
        "sample": None if sample is None else _plain(sample),
        "constraints": list(constraints),
        "metrics": list(metrics),
    }
    return parse_sweep(values, _IN_A_PROGRAM)


def _plain_scenario(given: Given) -> Mapping[str, object]:
    if isinstance(given, Scenario):
        return plain(given)
    if isinstance(given, Mapping):
        return given
    raise InputError("scenario", f"is {type(given).__name__}; give a file's path, a mapping or a simulator.Scenario")


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    return {str(key): plain_value(value) for key, value in values.items()}
