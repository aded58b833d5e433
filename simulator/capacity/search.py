"""Search for the largest factor that is still kept: double or halve until there is a bracket, then divide it.

Source: bisection of the logarithm; what is kept at one factor is taken to be kept at smaller ones.
Limits: where that does not hold, one of several borders is found; `contradictions` names what speaks against it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """The largest factor that was kept, and the smallest above it that was not; None where there is none."""

    kept: float | None
    not_kept: float | None


def search(keeps: Callable[[float], bool], *, tolerance: float, most_doublings: int = MOST_DOUBLINGS) -> Bracket:
    """Ask `keeps` at factors from 1 on until both ends of the bracket differ by no more than a share `tolerance`."""
    factor = 1.0
    step = 2.0 if keeps(factor) else 0.5
    for _ in range(most_doublings):
        before, factor = factor, factor * step
        if keeps(factor) == (step < 1):
            break
    else:
        return Bracket(kept=factor, not_kept=None) if step > 1 else Bracket(kept=None, not_kept=factor)
    low, high = min(before, factor), max(before, factor)
    while high > low * (1 + tolerance):
        middle = float(f"{(low * high) ** 0.5:.6g}")
        if not low < middle < high:
            break
        if keeps(middle):
            low = middle
        else:
            high = middle
    return Bracket(kept=low, not_kept=high)


def contradictions(found: Sequence[tuple[float, bool]]) -> list[float]:
    """Return the factors that were not kept although a larger one was."""
    largest = max((factor for factor, is_kept in found if is_kept), default=0.0)
    return sorted(factor for factor, is_kept in found if not is_kept and factor < largest)
