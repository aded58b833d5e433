"""The probe of the machine's speed, and which speed is measured at."""

import pytest

from validation.runtime.speed import TOLERANCE, is_as_fast, probe_ns, reference_ns


def test_a_probe_is_short_and_takes_time() -> None:
    """It does something, and far less than a step."""
    pytest.importorskip("torch")
    assert 1_000 < probe_ns() < 50_000_000


@pytest.mark.parametrize(("num_fast", "expected"), [(100, 100.0), (20, 100.0), (19, 200.0), (1, 200.0)])
def test_the_undisturbed_speed_counts_from_a_fifth_on(num_fast: int, expected: float) -> None:
    """Below that, the speed that prevails."""
    assert reference_ns([100.0] * num_fast + [200.0] * (100 - num_fast)) == expected


def test_single_outliers_decide_nothing() -> None:
    """Neither one probe that was quick beyond the others nor slow ones."""
    assert reference_ns([10.0, *[100.0] * 98, 5000.0]) == 100.0


def test_speeds_count_as_equal_within_the_tolerance() -> None:
    """On both sides."""
    assert is_as_fast(100 * (1 + 0.99 * TOLERANCE), 100)
    assert is_as_fast(100 * (1 - 0.99 * TOLERANCE), 100)
    assert not is_as_fast(100 * (1 + 1.01 * TOLERANCE), 100)
    assert not is_as_fast(100 * (1 - 1.01 * TOLERANCE), 100)


def test_no_probes_are_refused() -> None:
    """There is no speed to tell."""
    with pytest.raises(ValueError, match="no probes"):
        reference_ns([])
