"""Distributions of durations: exact while they are few, close when they are many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.metrics import distribution
from simulator.metrics.distribution import Distribution

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def counted(values_ns: list[int]) -> Distribution:
    """Count values."""
    result = Distribution()
    for value_ns in values_ns:
        result.add(value_ns)
    return result


@settings(derandomize=True, deadline=None, max_examples=100)
@given(values_ns=st.lists(st.integers(0, 10**12), min_size=1, max_size=60))
def test_percentiles_are_numpys(values_ns: list[int]) -> None:
    """Mean and percentiles are those of the values, in seconds."""
    found = counted(values_ns)
    assert found.is_exact
    assert found.count == len(values_ns)
    expected: dict[str, float | None] = {"mean": sum(values_ns) / len(values_ns) / 10**9}
    for name, quantile in QUANTILES.items():
        expected[name] = float(np.quantile(np.array(values_ns, np.int64), quantile)) / 10**9
    assert found.summary_s() == expected
    assert found.quantiles_s((0.0, 1.0)) == [min(values_ns) / 10**9, max(values_ns) / 10**9]


def test_nothing_counted() -> None:
    """Of no values there is no mean and no percentile."""
    assert Distribution().summary_s() == {"mean": None, "p50": None, "p90": None, "p99": None}
    assert Distribution().quantiles_s((0.0, 1.0)) == []


@pytest.mark.parametrize("scale_ns", [100, 10**4, 10**7, 10**10])
def test_many_values_are_counted_in_buckets_within_a_thousandth(scale_ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound percentiles stay within 0.1 % of an order statistic next to them; mean and count stay exact."""
    monkeypatch.setattr(distribution, "_MAX_EXACT", 1000)
    rng = np.random.default_rng(4)
    values_ns = (rng.lognormal(0, 1, 20_500) * scale_ns).astype(np.int64)
    found = counted(values_ns.tolist())
    assert not found.is_exact
    assert found.count == len(values_ns)
    summary = found.summary_s()
    assert summary["mean"] == int(values_ns.sum()) / len(values_ns) / 10**9
    for name, quantile in QUANTILES.items():
        low_ns, high_ns = (np.quantile(values_ns, quantile, method=method) for method in ("lower", "higher"))
        value_s = summary[name]
        assert value_s is not None
        assert low_ns * 0.999 <= value_s * 10**9 <= high_ns * 1.001


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values come, buckets are as many as magnitudes times leading bits, and no more."""
    monkeypatch.setattr(distribution, "_MAX_EXACT", 256)
    rng = np.random.default_rng(5)
    found = counted(rng.integers(10**6, 2 * 10**6, 20_000).tolist())
    assert len(found._buckets) <= 2048
    assert len(found._values) < 256
