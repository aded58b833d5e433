"""MSER-5 against its definition, and on series whose warm-up is known."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.metrics.mser import mser_truncation
from tests.metrics.series import autoregressive


def plain(values: list[int], batch: int = 5) -> int:
    """Return the truncation by the definition, term by term, in fractions."""
    means = [Fraction(sum(values[index : index + batch]), batch) for index in range(0, len(values) - batch + 1, batch)]
    count = len(means)
    statistics = []
    for dropped in range(min(count // 2, count - 5) + 1):
        kept = means[dropped:]
        mean = sum(kept) / len(kept)
        statistics.append(sum((value - mean) ** 2 for value in kept) / len(kept) ** 2)
    return statistics.index(min(statistics)) * batch


@settings(derandomize=True, deadline=None, max_examples=80)
@given(values=st.lists(st.integers(-50, 50), min_size=50, max_size=160))
def test_the_definition_term_by_term(values: list[int]) -> None:
    """The same point as a few lines that recompute every sum."""
    assert mser_truncation([float(value) for value in values]).num_dropped == plain(values)


def test_a_step_is_cut_where_it_ends() -> None:
    """100 values of 10, then 900 about 0: all of the first 100 and little more."""
    values = np.concatenate([np.full(100, 10.0), np.zeros(900)]) + np.random.default_rng(1).standard_normal(1000)
    found = mser_truncation(values.tolist())
    assert 100 <= found.num_dropped <= 120
    assert found.is_settled


@pytest.mark.parametrize("seed", range(5))
def test_a_transient_that_fades_is_cut_and_the_bias_with_it(seed: int) -> None:
    """A start 60 standard deviations off, which halves every 7 values: the truncated mean is nearer, whatever the seed."""
    values = autoregressive(seed, 4000, correlation=0.9, mean=5.0, start=150.0)
    found = mser_truncation(values.tolist())
    assert found.is_settled
    assert 20 <= found.num_dropped <= 400
    assert abs(values[found.num_dropped :].mean() - 5.0) < abs(values.mean() - 5.0)


def test_a_steady_series_keeps_most() -> None:
    """On average over 40 series of independent values, less than a tenth goes."""
    dropped = [
        mser_truncation(np.random.default_rng(seed).standard_normal(1000).tolist()).num_dropped for seed in range(40)
    ]
    assert np.mean(dropped) < 100


def test_a_trend_has_not_settled() -> None:
    """The least statistic lies where the search ends."""
    found = mser_truncation([float(value) for value in range(500)])
    assert (found.num_dropped, found.is_settled) == (250, False)


def test_large_values_lose_no_digits() -> None:
    """Latencies in ns since a far beginning are cut where the same ones near 0 are."""
    values = autoregressive(3, 500, correlation=0.5, start=60.0)
    assert mser_truncation((values + 1e12).tolist()) == mser_truncation(values.tolist())


def test_too_few_values_have_no_steady_state() -> None:
    """Nothing is dropped, and it is said."""
    found = mser_truncation([1.0] * 49)
    assert (found.num_dropped, found.is_settled) == (0, False)
    assert mser_truncation([1.0] * 50).is_settled
    assert mser_truncation([]).num_dropped == 0
    with pytest.raises(ValueError, match="batch is 0"):
        mser_truncation([1.0], batch=0)
