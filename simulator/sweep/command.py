"""The command that runs one point of a sweep by itself."""

import shlex
from collections.abc import Iterable, Iterator, Sequence

import yaml

from simulator.points.point import Point
from simulator.sweep.file import Sweep


def command_of(sweep: Sweep, point: Point, settings: Sequence[str]) -> str:
    """Return the `moesim run` that gives a point's summary, from the folder that the sweep was run in.

    `settings` are those that the sweep was given as `--set`.
    """
    words = ["moesim", "run"]
    if sweep.scenario_path is not None:
        words.append(str(sweep.scenario_path))
    else:
        words += _options(sweep.base.items())
    for setting in settings:
        words += ["--set", setting]
    words += _options((path, sweep.placed_value(path, value)) for path, value in point.labels.items())
    return shlex.join(words)


def _options(values: Iterable[tuple[str, object]]) -> Iterator[str]:
    for path, value in values:
        yield from ("--set", f"{path}={flow_text(value)}")


def flow_text(value: object) -> str:
    """Return a value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("...").rstrip("\n")
