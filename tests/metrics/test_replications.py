"""Paired differences of replications."""

import numpy as np
import pytest

from simulator.metrics.interval import mean_interval
from simulator.metrics.replications import against_baseline, paired_difference, replication_seeds


def test_a_difference_by_hand() -> None:
    """3, 4, 8 against 1, 3, 5: 2 plus or minus 4.303 / sqrt(3), which holds 0; relative to 3."""
    found = paired_difference([3.0, 4.0, 8.0], [1.0, 3.0, 5.0])
    assert found.difference.mean == 2
    assert found.difference.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert found.relative == pytest.approx(2 / 3)
    assert found.verdict == "undecided"
    assert found.correlation == pytest.approx(np.corrcoef([3, 4, 8], [1, 3, 5])[0, 1])


def test_common_requests_tell_apart_what_independent_ones_do_not() -> None:
    """A difference of 0.5 below noise of 10 that both share: decided in pairs, not between two means."""
    rng = np.random.default_rng(1)
    shared = 100 + 10 * rng.standard_normal(10)
    a, b = shared - 0.5 + 0.1 * rng.standard_normal(10), shared + 0.1 * rng.standard_normal(10)
    found = paired_difference(a.tolist(), b.tolist())
    assert found.verdict == "lower"
    assert paired_difference(b.tolist(), a.tolist()).verdict == "higher"
    assert found.difference.contains(-0.5)
    assert found.correlation is not None
    assert found.correlation > 0.99
    alone = mean_interval(a.tolist())
    assert alone.contains(float(b.mean()))


def test_equal_systems_are_told_apart_as_rarely_as_stated() -> None:
    """5 % of 600 comparisons, within three standard errors."""
    rng = np.random.default_rng(3)
    decided = 0
    for _ in range(600):
        a, b = rng.standard_normal((2, 10))
        decided += paired_difference(a.tolist(), b.tolist()).verdict != "undecided"
    assert decided / 600 == pytest.approx(0.05, abs=0.027)


def test_several_comparisons_hold_together() -> None:
    """Of five systems against a baseline each interval has 99 %; the baseline is not compared with itself."""
    rng = np.random.default_rng(5)
    values = {name: rng.standard_normal(10).tolist() for name in "abcdef"}
    found = against_baseline(values, "c", confidence=0.95)
    assert list(found) == ["a", "b", "d", "e", "f"]
    assert {round(one.difference.confidence, 9) for one in found.values()} == {0.99}
    assert found["a"] == paired_difference(values["a"], values["c"], confidence=1 - (1 - 0.95) / 5)
    assert against_baseline({"c": [1.0]}, "c") == {}
    with pytest.raises(KeyError):
        against_baseline(values, "z")


def test_without_variation() -> None:
    """A constant difference is decided, no difference is not; of one replication nothing is."""
    assert paired_difference([2.0, 3.0], [1.0, 2.0]).verdict == "higher"
    same = paired_difference([1.0, 1.0], [1.0, 1.0])
    assert (same.verdict, same.correlation) == ("undecided", None)
    assert paired_difference([2.0], [1.0]).verdict == "undecided"
    assert paired_difference([2.0, 2.0], [0.0, 0.0]).relative is None


def test_unpaired_series_are_refused() -> None:
    """So that no pair is made of different seeds."""
    with pytest.raises(ValueError, match="2 replications of one and 1 of the other"):
        paired_difference([1.0, 2.0], [1.0])


def test_seeds() -> None:
    """More replications begin with the fewer ones."""
    assert replication_seeds(7, 3) == [7, 8, 9]
    assert replication_seeds(7, 10)[:3] == replication_seeds(7, 3)
    with pytest.raises(ValueError, match="replications are 0"):
        replication_seeds(7, 0)
