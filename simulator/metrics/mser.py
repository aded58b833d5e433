"""How much of a run is warm-up: MSER-5."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BATCH = 5
_LEAST_KEPT = 5  # the statistic of the last few batches is small by chance
_EQUAL = 1 + 1e-12  # sums in another order


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """The first `num_dropped` of the values are warm-up.

    `is_settled` is false where the least statistic lies at the end of what was tried: then the run is too short to tell, and
    should be made longer.
    """

    num_dropped: int
    is_settled: bool


def mser_truncation(values: Sequence[float], *, batch: int = _BATCH) -> Truncation:
    """Return the truncation of a series of outputs, in the order of the run, that leaves the surest mean.

    Values are averaged in batches of five; of the batch means Z_1..Z_n the first d are dropped for which
    sum over i > d of (Z_i - mean of those)**2, divided by (n - d)**2, is least, d up to half of n; the least d among equals.
    The truncated mean is then that with the narrowest interval if the rest were independent.

    Source: White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69 (1997); White,
    Cobb and Spratt, "A comparison of five steady-state truncation heuristics for simulation", WSC 2000 (batches of five);
    Hoad, Robinson and Davies, "AutoSimOA", JORS 61 (2010) (the second half means that the run is too short).
    Limits: a series with a period or a trend has no warm-up to find; a lone late outlier moves the result.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}; it should be 1 or more")
    series = np.asarray(values, dtype=np.float64)
    num_batches = len(series) // batch
    if num_batches < 2 * _LEAST_KEPT:
        return Truncation(num_dropped=0, is_settled=False)
    means = series[: num_batches * batch].reshape(num_batches, batch).mean(axis=1).tolist()
    statistics = _statistics(means)
    last = min(num_batches // 2, num_batches - _LEAST_KEPT)
    least = min(statistics[: last + 1])
    dropped = next(index for index, value in enumerate(statistics) if value <= least * _EQUAL)
    return Truncation(num_dropped=dropped * batch, is_settled=dropped < last)


def _statistics(means: Sequence[float]) -> list[float]:
    """Return the statistic for each number of batches dropped, from none up.

    Mean and squares are built up from the end, one value at a time, so that no digits are lost where values are large and
    alike (Welford, Technometrics 4 (1962)).
    """
    statistics, mean, squares = [], 0.0, 0.0
    for count, value in enumerate(reversed(means), start=1):
        off = value - mean
        mean += off / count
        squares += off * (value - mean)
        statistics.append(squares / count**2)
    statistics.reverse()
    return statistics
