"""Whether one system beats another: differences of replications that saw the same requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from typing import Literal

from simulator.metrics.interval import Interval, mean_interval, require_confidence

Verdict = Literal["higher", "lower", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """What a value is above the baseline's, replication by replication.

    `relative` is the mean difference over the baseline's mean, None where that is 0. `verdict` says whether the interval of
    the difference leaves out 0, and on which side it lies. `correlation` is that of the two series, None where one of them
    does not vary: the nearer to 1, the more the common requests have narrowed the interval.
    """

    difference: Interval
    relative: float | None
    verdict: Verdict
    correlation: float | None


def replication_seeds(seed: int, count: int) -> list[int]:
    """Return the seeds of replications, one after another: those of fewer are the first of more. Raises ValueError."""
    if count < 1:
        raise ValueError(f"replications are {count}; there should be 1 or more")
    return [seed + index for index in range(count)]


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95
) -> PairedDifference:
    """Compare two series of replications; the n-th of each have run with the same seed. Raises ValueError.

    Source: paired t interval with common random numbers, Law, "Simulation Modeling and Analysis", 5th edition (2015),
    sections 10.2.1 and 11.2.
    Limits: values are taken as normal, which means over many requests nearly are and extreme percentiles are not.
    """
    if len(values) != len(baseline):
        raise ValueError(f"there are {len(values)} replications of one and {len(baseline)} of the other; pair them")
    difference = mean_interval([a - b for a, b in zip(values, baseline, strict=True)], confidence)
    verdict: Verdict = "undecided"
    if difference.half_width is not None and abs(difference.mean) > difference.half_width:
        verdict = "higher" if difference.mean > 0 else "lower"
    of_baseline = fsum(baseline) / len(baseline)
    return PairedDifference(
        difference=difference,
        relative=difference.mean / abs(of_baseline) if of_baseline else None,
        verdict=verdict,
        correlation=_correlation(values, baseline),
    )


def against_baseline(
    values: Mapping[str, Sequence[float]], baseline: str, *, confidence: float = 0.95
) -> dict[str, PairedDifference]:
    """Compare several systems with one; all intervals hold together with the confidence. Raises ValueError, KeyError.

    Source: Bonferroni's inequality: each of k intervals has the confidence 1 - (1 - confidence) / k.
    """
    require_confidence(confidence)
    others = [name for name in values if name != baseline]
    each = 1 - (1 - confidence) / max(1, len(others))
    return {name: paired_difference(values[name], values[baseline], confidence=each) for name in others}


def _correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    mean_a, mean_b = fsum(a) / len(a), fsum(b) / len(b)
    squares_a, squares_b = fsum((x - mean_a) ** 2 for x in a), fsum((y - mean_b) ** 2 for y in b)
    if not squares_a or not squares_b:
        return None
    products = fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return products / sqrt(squares_a * squares_b)
