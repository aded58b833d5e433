"""Fits find the parameters of data that were made from them, through noise and outliers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from validation.calibrate.fits import fit_additive, fit_line, fit_roofline, fit_slope, fit_table

TOKENS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
positive = st.floats(1e-6, 1e-1)


def noisy(exact: NDArray[np.float64], *, outliers: tuple[int, ...] = (), seed: int = 0) -> list[float]:
    """Return durations with 1 % of noise; those of `outliers` take twice as long."""
    drawn = exact * (1 + 0.01 * np.random.default_rng(seed).standard_normal(len(exact)))
    drawn[list(outliers)] *= 2
    return [float(value) for value in drawn]


def test_line_through_noise_and_an_outlier() -> None:
    """Latency and bandwidth within a few percent, though one point took twice its time."""
    sizes = np.geomspace(65536, 5e7, 12)
    fit = fit_line(sizes.tolist(), noisy(30e-6 + sizes / 2e9, outliers=(4,)))
    assert fit.parameters["latency_s"] == pytest.approx(30e-6, rel=0.1)
    assert fit.parameters["rate"] == pytest.approx(2e9, rel=0.02)
    assert fit.largest_relative_residual == pytest.approx(0.5, abs=0.05)
    assert abs(fit.relative_residuals[4]) == fit.largest_relative_residual


@settings(deadline=None, max_examples=40)
@given(latency=st.floats(0, 1e-3), rate=st.floats(1e8, 1e11))
def test_an_exact_line_is_found(latency: float, rate: float) -> None:
    """Predictions are those of the line."""
    sizes = np.geomspace(65536, 5e7, 8)
    seconds = latency + sizes / rate
    fit = fit_line(sizes.tolist(), seconds.tolist())
    assert fit.predicted_s == pytest.approx(seconds.tolist(), rel=1e-3)
    assert fit.largest_relative_residual < 1e-3


@settings(deadline=None, max_examples=40)
@given(seconds=st.lists(positive, min_size=2, max_size=10))
def test_a_line_never_has_negative_parameters(seconds: list[float]) -> None:
    """Whatever is measured, noise that falls with size included."""
    fit = fit_line([float(2**index) for index in range(len(seconds))], seconds)
    assert fit.parameters["latency_s"] >= 0
    assert fit.parameters["rate"] > 0
    assert all(value >= 0 for value in fit.predicted_s)


def test_roofline_through_noise_and_an_outlier() -> None:
    """Bandwidth and FLOP/s; the launch where the points tell it from the bytes' time."""
    tokens = np.array(TOKENS, dtype=float)
    num_bytes, flops = np.full(len(tokens), 17e6), 2 * 4.25e6 * tokens
    exact = 200e-6 + np.maximum(num_bytes / 1e10, flops / 5e11)
    fit = fit_roofline(num_bytes.tolist(), flops.tolist(), noisy(exact, outliers=(5,)))
    assert fit.parameters["flops_per_s"] == pytest.approx(5e11, rel=0.05)
    assert fit.parameters["launch_s"] == pytest.approx(200e-6, rel=0.2)
    assert fit.parameters["bandwidth_bytes_per_s"] == pytest.approx(1e10, rel=0.05)


def test_roofline_keeps_a_launch_that_is_known() -> None:
    """It stands in the parameters as given, and the bandwidth follows from the rest."""
    tokens = np.array(TOKENS[:8], dtype=float)
    num_bytes, flops = np.full(len(tokens), 17e6), 2 * 4.25e6 * tokens
    exact = 200e-6 + num_bytes / 1e10 + 0 * flops
    fit = fit_roofline(num_bytes.tolist(), flops.tolist(), noisy(exact), launch_s=200e-6)
    assert fit.parameters["launch_s"] == 200e-6
    assert fit.parameters["bandwidth_bytes_per_s"] == pytest.approx(1e10, rel=0.02)
    assert fit.parameters["flops_per_s"] >= flops[-1] / (num_bytes[0] / 1e10) * 0.9  # binds no point


def test_a_table_that_rises_is_kept() -> None:
    """Nothing to mend."""
    table = fit_table([4, 1, 2], [3.0, 1.0, 2.0])
    assert (table.amounts, table.seconds) == ((1.0, 2.0, 4.0), (1.0, 2.0, 3.0))
    assert table.fit.largest_relative_residual == 0


def test_a_dip_is_levelled() -> None:
    """Two points that descend get one value between them, the weighted mean."""
    table = fit_table([1, 2, 3], [1.0, 4.0, 2.0], [1.0, 1.0, 3.0])
    assert table.seconds == pytest.approx((1.0, 2.5, 2.5))
    assert table.fit.relative_residuals == pytest.approx((0, -0.375, 0.25))


@settings(deadline=None)
@given(points=st.lists(st.tuples(st.integers(1, 64), positive), min_size=1, max_size=20))
def test_tables_never_descend_and_stay_within_what_was_measured(points: list[tuple[int, float]]) -> None:
    """One entry per amount, ascending; a table of a table is itself."""
    table = fit_table([float(x) for x, _ in points], [y for _, y in points])
    assert list(table.amounts) == sorted({float(x) for x, _ in points})
    assert all(b >= a for a, b in pairwise(table.seconds))
    assert min(y for _, y in points) * 0.999 <= table.seconds[0] <= table.seconds[-1]
    assert table.seconds[-1] <= max(y for _, y in points) * 1.001
    assert fit_table(table.amounts, table.seconds).seconds == pytest.approx(table.seconds)


def test_slope() -> None:
    """A base and a time per unit, which is zero where nothing rises."""
    rising = fit_slope([1, 2, 3, 4], [1.5, 2.0, 2.5, 3.0]).parameters
    assert (rising["base_s"], rising["per_unit_s"]) == pytest.approx((1.0, 0.5), rel=1e-3)
    level = fit_slope([1, 2, 3, 4], [2.0, 1.9, 1.8, 1.7]).parameters["per_unit_s"]
    assert level == pytest.approx(0, abs=1e-3)


def test_additive_tables_through_noise_and_an_outlier() -> None:
    """The time by tokens and the time by attended tokens are told apart on a grid of batches and contexts."""
    levels, contexts = np.array([1.0, 2, 4, 8, 16]), np.array([16.0, 128, 512])
    tokens, attended = np.repeat(levels, 3), np.outer(levels, contexts).reshape(-1)
    exact = 1e-4 + 1e-5 * tokens + 4e-8 * attended
    found = fit_additive(tokens.tolist(), attended.tolist(), noisy(exact, outliers=(7,)))
    assert found.first.amounts == tuple(levels)
    assert found.first.seconds == pytest.approx(list(1e-4 + 1e-5 * levels), rel=0.06)
    assert (found.second.amounts[0], found.second.seconds[0]) == (0, 0)
    assert found.second.amounts[-1] == 8192
    assert found.second.seconds[-1] == pytest.approx(4e-8 * 8192, rel=0.03)


@settings(deadline=None, max_examples=30)
@given(seconds=st.lists(positive, min_size=6, max_size=6))
def test_additive_tables_never_descend(seconds: list[float]) -> None:
    """Nor fall below zero, whatever is measured."""
    found = fit_additive([1, 1, 2, 2, 4, 4], [16, 64, 32, 128, 64, 256], seconds)
    for table in (found.first, found.second):
        assert all(b >= a for a, b in pairwise(table.seconds))
        assert table.seconds[0] >= 0
