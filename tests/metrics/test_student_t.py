"""Student's t against tables and against what is known of it."""

from math import pi

import pytest

from simulator.metrics.student_t import half_width, t_cdf, t_quantile

# Source: Abramowitz and Stegun, table 26.10.
TABLE = {
    (0.95, 1): 6.314,
    (0.975, 1): 12.706,
    (0.975, 2): 4.303,
    (0.975, 5): 2.571,
    (0.95, 9): 1.833,
    (0.975, 9): 2.262,
    (0.995, 10): 3.169,
    (0.975, 30): 2.042,
    (0.995, 120): 2.617,
    (0.9995, 4): 8.610,
}


@pytest.mark.parametrize(("probability", "degrees"), TABLE)
def test_quantiles_are_those_of_the_table(probability: float, degrees: int) -> None:
    """To the table's three places; the other tail is the same below 0."""
    assert t_quantile(probability, degrees) == pytest.approx(TABLE[probability, degrees], abs=6e-4)
    assert t_quantile(1 - probability, degrees) == pytest.approx(-TABLE[probability, degrees], abs=6e-4)


def test_closed_forms() -> None:
    """One degree of freedom is Cauchy's distribution; two have a formula; many are normal."""
    assert t_cdf(1.0, 1) == pytest.approx(0.75)
    assert t_cdf(3.0, 2) == pytest.approx(0.5 + 3 / (2 * (2 + 9) ** 0.5))
    assert t_quantile(0.975, 10**7) == pytest.approx(1.959964, abs=1e-5)
    assert t_quantile(0.5, 3) == 0
    assert t_quantile(0.75, 1) == pytest.approx(1.0, abs=1e-9)
    assert pi * t_quantile(0.999, 1) == pytest.approx(1000, rel=1e-5)


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 29, 400])
@pytest.mark.parametrize("probability", [0.51, 0.8, 0.975, 0.9999])
def test_quantile_and_probability_are_inverse(probability: float, degrees: int) -> None:
    """There and back."""
    assert t_cdf(t_quantile(probability, degrees), degrees) == pytest.approx(probability, abs=1e-9)


def test_half_width() -> None:
    """10 values of standard deviation 3: 2.262 * 3 / sqrt(10)."""
    assert half_width(3.0, 10, 0.95) == pytest.approx(2.262 * 3 / 10**0.5, rel=3e-4)


def test_what_is_no_probability_is_refused() -> None:
    """Nor a number of degrees."""
    for probability in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="probability is"):
            t_quantile(probability, 5)
    with pytest.raises(ValueError, match="degrees is 0"):
        t_quantile(0.9, 0)
