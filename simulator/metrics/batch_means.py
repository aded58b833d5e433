"""The confidence interval of a mean from one run, whose successive values depend on each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from simulator.metrics.interval import Interval, mean_interval, require_confidence

_MOST_BATCHES = 32
_LEAST_BATCHES = 8
_SIGNIFICANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMeans:
    """The interval, from `interval.count` batches of `batch` values; the first `num_dropped` fill no batch.

    `are_independent` is false where the means of even the longest batches still depend on each other: then the interval is
    too narrow, and the run should be longer.
    """

    interval: Interval
    batch: int
    num_dropped: int
    lag_1_correlation: float
    are_independent: bool


def batch_means(values: Sequence[float], *, confidence: float = 0.95) -> BatchMeans | None:
    """Return the mean of a settled series with its interval; None for fewer than 16 values.

    The series is divided into 32 batches of equal length; while von Neumann's test finds that successive means are
    positively correlated (at the level of 10 %), their number is halved, to 8 at least. The means are then taken as
    independent.

    Source: Schmeiser, "Batch size effects in the analysis of simulation output", Operations Research 30 (1982): 10 to 30
    batches lose little; von Neumann, "Distribution of the ratio of the mean square successive difference to the variance",
    Annals of Mathematical Statistics 12 (1941), in its normal approximation; halving as in Law and Carson, Operations
    Research 27 (1979).
    Limits: too few values for the correlation of the process give an interval that is too narrow, which the test may miss.
    """
    require_confidence(confidence)
    series = np.asarray(values, dtype=np.float64)
    if len(series) < 2 * _LEAST_BATCHES:
        return None
    num_batches = _MOST_BATCHES
    while num_batches * 2 > len(series):
        num_batches //= 2
    while True:
        batch = len(series) // num_batches
        num_dropped = len(series) - num_batches * batch
        means = series[num_dropped:].reshape(num_batches, batch).mean(axis=1)
        correlation, are_independent = _von_neumann(means)
        if are_independent or num_batches // 2 < _LEAST_BATCHES:
            break
        num_batches //= 2
    return BatchMeans(
        interval=mean_interval(means.tolist(), confidence),
        batch=batch,
        num_dropped=num_dropped,
        lag_1_correlation=correlation,
        are_independent=are_independent,
    )


def _von_neumann(means: NDArray[np.float64]) -> tuple[float, bool]:
    """Return the lag-1 correlation, corrected for the ends, and whether it may be chance.

    1 - (sum of squared successive differences) / (2 * sum of squares about the mean) has, of n independent normal values,
    the mean 0 and the variance (n - 2) / (n**2 - 1).
    """
    count = len(means)
    about = float(((means - means.mean()) ** 2).sum())
    if about == 0:
        return 0.0, True
    correlation = 1 - float((np.diff(means) ** 2).sum()) / (2 * about)
    bound = NormalDist().inv_cdf(1 - _SIGNIFICANCE) * sqrt((count - 2) / (count**2 - 1))
    return correlation, correlation <= bound
