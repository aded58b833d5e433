"""Confidence intervals from one run: they hold the true mean about as often as they say."""

import numpy as np
import pytest

from simulator.metrics.batch_means import batch_means
from simulator.metrics.interval import mean_interval
from tests.metrics.series import autoregressive


def coverage(correlation: float, count: int, runs: int = 300) -> float:
    """Return how many of the 95 % intervals hold the true mean."""
    held = 0
    for seed in range(runs):
        found = batch_means(autoregressive(seed, count, correlation=correlation, mean=7.0).tolist())
        assert found is not None
        held += found.interval.contains(7.0)
    return held / runs


def test_intervals_of_independent_values_hold_the_mean() -> None:
    """95 % of 300, within three standard errors."""
    assert coverage(0.0, 640) == pytest.approx(0.95, abs=0.04)


def test_intervals_of_correlated_values_hold_the_mean() -> None:
    """Nearly as often, where values are correlated over dozens of them; a plain t interval holds it a third of the time."""
    assert coverage(0.9, 6400) > 0.89
    plain = [
        mean_interval(autoregressive(seed, 6400, correlation=0.9, mean=7.0).tolist()).contains(7.0)
        for seed in range(300)
    ]
    assert np.mean(plain) < 0.5


def test_batches_are_of_equal_length_and_the_first_values_go() -> None:
    """1,000 independent values: 32 batches of 31 leave out the first 8."""
    values = np.random.default_rng(4).standard_normal(1000)
    found = batch_means(values.tolist())
    assert found is not None
    assert (found.interval.count, found.batch, found.num_dropped, found.are_independent) == (32, 31, 8, True)
    means = values[8:].reshape(32, 31).mean(axis=1)
    assert found.interval.mean == pytest.approx(means.mean())
    assert found.interval.half_width == pytest.approx(2.0395 * means.std(ddof=1) / 32**0.5, rel=1e-4)


def test_correlated_means_are_made_fewer() -> None:
    """A slow process leaves fewer batches; one that is slower than the run is told."""
    slow = batch_means(autoregressive(2, 3000, correlation=0.99).tolist())
    assert slow is not None
    assert slow.interval.count < 32
    trend = batch_means([float(value) for value in range(1000)])
    assert trend is not None
    assert (trend.interval.count, trend.are_independent) == (8, False)
    assert trend.lag_1_correlation > 0.5


def test_few_values() -> None:
    """Fewer than 16 have no interval; equal ones one of width 0; an interval of one value is none."""
    assert batch_means([1.0] * 15) is None
    even = batch_means([3.0] * 16)
    assert even is not None
    assert (even.interval.low, even.interval.high, even.interval.count) == (3.0, 3.0, 8)
    one = mean_interval([2.0])
    assert (one.mean, one.half_width, one.low, one.high, one.contains(2.0)) == (2.0, None, None, None, False)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
    with pytest.raises(ValueError, match="confidence is 1"):
        batch_means([1.0] * 16, confidence=1.0)


def test_an_interval_by_hand() -> None:
    """Of 1, 2, 3: 2 plus or minus 4.303 / sqrt(3)."""
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert found.contains(4.4)
    assert not found.contains(4.5)
