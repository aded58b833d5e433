"""A point, one scenario of many, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One scenario: its plain values, as `simulator.scenario.build_scenario` takes them, and its place on each axis."""

    values: Mapping[str, object]
    labels: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointResult:
    """What became of a point: the summary of its run as JSON would give it back, or the reason why there is none.

    `key` names all that the summary depends on, empty where that could not be told. `is_reused` says that the summary came
    from the store, `wall_s` how long the run took when it was run. `traceback` is there where the fault is not the input's.
    """

    point: Point
    summary: Mapping[str, object] | None
    key: str = ""
    reason: str = ""
    traceback: str = ""
    is_reused: bool = False
    wall_s: float = 0.0
