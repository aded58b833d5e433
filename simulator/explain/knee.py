"""The next knee: the least of something, cache or bandwidth, beyond which all more of it wins less than a stated share.

Sizes are doubled, or halved, from where the run is now until the knee lies between two of them, then what lies between is
divided by four until it is known to `_TOLERANCE`. How many sizes are tried at once does not depend on how many processes
there are, so neither does the knee.

Limits: a larger size is taken to be no worse than a smaller one; where the metric wavers, the knee is one of several.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_TOLERANCE = 0.03
_AT_ONCE = 3
_MOST_RUNGS = 24

Evaluate = Callable[[Sequence[int]], Sequence[float | None]]
"""Gives the metric at some sizes; None where there is none, as of a cache that is too small."""
IsEnough = Callable[[float | None, float | None], bool]
"""Tells of (metric at a size, metric at the largest) whether what lies between is below the stated share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Sizes to try: from `now` up to `most` and down to `least`; `up` and `down` give the next rung.

    With `resolution` the knee is known to so many units, else to a share of the size.
    """

    now: int
    least: int
    most: int
    up: Callable[[int], int]
    down: Callable[[int], int]
    resolution: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """A knee: the size, whether what there is now reaches beyond it, and the metric at each size that was tried.

    `at` is None where not even `most` has a metric.
    """

    at: int | None
    is_beyond: bool
    tried: Sequence[tuple[int, float | None]]


def find_knee(ladder: Ladder, evaluate: Evaluate, is_enough: IsEnough) -> Knee:
    """Find the least size that is as good as `most`, within a share."""
    known: dict[int, float | None] = {}

    def enough(sizes: Sequence[int]) -> list[bool]:
        new = [size for size in dict.fromkeys(sizes) if size not in known]
        known.update(zip(new, evaluate(new), strict=True))
        return [known[size] is not None and is_enough(known[size], known[ladder.most]) for size in sizes]

    def knee(at: int | None, *, is_beyond: bool) -> Knee:
        return Knee(at=at, is_beyond=is_beyond, tried=sorted(known.items()))

    (now_is_enough, _) = enough([ladder.now, ladder.most])
    if known[ladder.most] is None:
        return knee(None, is_beyond=False)
    low, high = _bracket(ladder, enough, now_is_enough=now_is_enough)
    if low is None:
        return knee(high, is_beyond=now_is_enough)
    while high - low > max(1, ladder.resolution or int(_TOLERANCE * high)):
        step = (high - low) / (_AT_ONCE + 1)
        inner = sorted({low + round(step * part) for part in range(1, _AT_ONCE + 1)} - {low, high})
        answers = enough(inner)
        first = next((place for place, is_it in enumerate(answers) if is_it), len(inner))
        low, high = ([low, *inner][first], [*inner, high][first])
    return knee(high, is_beyond=now_is_enough)


def _bracket(
    ladder: Ladder, enough: Callable[[Sequence[int]], list[bool]], *, now_is_enough: bool
) -> tuple[int | None, int]:
    """Return (a size that is not enough, the next rung, which is); None for the first where even the least is."""
    good, bad = (ladder.now, None) if now_is_enough else (ladder.most, ladder.now)
    following, end = (ladder.down, ladder.least) if now_is_enough else (ladder.up, ladder.most)
    at, rungs = ladder.now, list[int]()
    while at != end and len(rungs) < _MOST_RUNGS:
        at = max(end, following(at)) if now_is_enough else min(end, following(at))
        rungs.append(at)
    for start in range(0, len(rungs), _AT_ONCE):
        some = rungs[start : start + _AT_ONCE]
        for size, is_it in zip(some, enough(some), strict=True):
            if now_is_enough and not is_it:
                return size, good
            if not now_is_enough and is_it:
                return bad, size
            good, bad = (size, bad) if now_is_enough else (good, size)
    return bad, good
