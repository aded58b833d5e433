"""How long a sweep will take, from a few of its points run for a moment."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.inputs import resolve_inputs
from simulator.points.point import Point
from simulator.run import simulate
from simulator.scenario import build_scenario

_PROBES = 3
_LONGEST_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds of one point, as a mean of so many that could be run; None where none could."""

    point_s: float | None
    num_run: int


class _EnoughError(Exception):
    """A point was run for long enough to tell."""


def estimate(points: Sequence[Point]) -> Estimate:
    """Run the first, the middle and the last point, each for no longer than 5 s, and say how long a point takes.

    Of one that takes longer the share of its tokens tells; where nobody knows how many these are, it is left out.
    """
    chosen = {round(place * (len(points) - 1) / (_PROBES - 1)) for place in range(_PROBES)}
    took_s = [seconds for place in sorted(chosen) if (seconds := _point_s(points[place])) is not None]
    return Estimate(point_s=sum(took_s) / len(took_s) if took_s else None, num_run=len(took_s))


def _point_s(point: Point) -> float | None:
    tokens = total = 0

    def progress(done: int, of: int) -> None:
        nonlocal tokens, total
        tokens, total = done, of
        if time.perf_counter() - started_s > _LONGEST_S:
            raise _EnoughError

    started_s = time.perf_counter()
    try:
        scenario = build_scenario(point.values, "scenario")
        inputs = resolve_inputs(scenario, "scenario")
        started_s = time.perf_counter()
        simulate(scenario, inputs=inputs, progress=progress)
    except _EnoughError:
        if not tokens or total < tokens:
            return None
        return (time.perf_counter() - started_s) * total / tokens
    except Exception:  # it will be a row with its reason
        return None
    return time.perf_counter() - started_s
