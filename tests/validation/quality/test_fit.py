"""The fit finds the curve that made the data, and its band holds what is to come."""

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("torch")

from validation.quality.fit import Floats, cost_at, fit_curves

NUM_SEGMENTS = 16


def made(
    coefficients: list[tuple[float, float]], masses_PC: Floats, *, scatter: float, noise: float, seed: int
) -> tuple[Floats, Floats]:
    """Return masses [P, C, S] and costs [C, S] about curves: configurations scatter, and segments about them."""
    generator = np.random.default_rng(seed)
    num_configurations = masses_PC.shape[1]
    costs_C = cost_at(coefficients, masses_PC) * np.exp(scatter * generator.standard_normal(num_configurations))
    costs_CS = costs_C[:, None] + noise * generator.standard_normal((num_configurations, NUM_SEGMENTS))
    return np.repeat(masses_PC[..., None], NUM_SEGMENTS, axis=2), costs_CS


@pytest.mark.parametrize(
    ("coefficients", "form"), [((0.7, 0.0), "linear"), ((0.0, 1.3), "square"), ((0.2, 1.5), "both")]
)
def test_a_curve_is_found_again(coefficients: tuple[float, float], form: str) -> None:
    """Its form and, to a hundredth, its coefficients; without scatter the band is narrow, and about it."""
    masses = np.linspace(0.02, 0.9, 8)[None]
    fit = fit_curves(*made([coefficients], masses, scatter=0, noise=1e-4, seed=1))
    assert fit.form == (form,)
    assert fit.mid[0] == pytest.approx(coefficients, abs=0.01)
    low, high = (cost_at(curves, masses) for curves in (fit.low, fit.high))
    truth = cost_at([coefficients], masses)
    assert (low <= truth * 1.01).all()
    assert (high >= truth * 0.99).all()
    assert (high - low <= 0.1 * truth).all()
    assert fit.scatter_frac < 0.02
    assert fit.measured_to == pytest.approx([0.9])


def test_two_masses_are_told_apart() -> None:
    """What is lost of strong picks costs ten times as much; either alone foretells badly."""
    masses = np.array([[0.05, 0.1, 0.2, 0.3, 0.02, 0.1, 0.2, 0.15], [0, 0, 0, 0, 0.05, 0.2, 0.4, 0.1]])
    masses_PCS, costs_CS = made([(0.3, 0.0), (3.0, 0.0)], masses, scatter=0.02, noise=1e-3, seed=2)
    fit = fit_curves(masses_PCS, costs_CS)
    assert [pair[0] + pair[1] * 0.1 for pair in fit.mid] == pytest.approx([0.3, 3.0], rel=0.1)
    together = fit_curves(masses_PCS.sum(axis=0, keepdims=True), costs_CS)
    assert together.score > 3 * fit.score


def test_the_band_holds_new_configurations() -> None:
    """Of configurations to come about nine in ten, over many measurements of seven that scatter by 15 %."""
    inside = []
    for seed in range(40):
        masses = np.linspace(0.1, 0.8, 7)[None]
        fit = fit_curves(*made([(0.5, 0.3)], masses, scatter=0.15, noise=0.003, seed=seed), seed=seed)
        generator = np.random.default_rng(1000 + seed)
        coming = generator.uniform(0.1, 0.8, 50)[None]
        costs = cost_at([(0.5, 0.3)], coming) * np.exp(0.15 * generator.standard_normal(50))
        inside.append(((costs >= cost_at(fit.low, coming)) & (costs <= cost_at(fit.high, coming))).mean())
    assert 0.8 < np.mean(inside) < 0.99


def test_no_loss_costs_nothing_and_more_costs_more() -> None:
    """Even where the data say that loss is gain."""
    masses = np.linspace(0.1, 1, 5)[None]
    fit = fit_curves(*made([(-0.01, 0.0)], masses, scatter=0, noise=1e-3, seed=3))
    for curves in (fit.low, fit.mid, fit.high):
        assert cost_at(curves, np.zeros((1, 1))) == [0]
        assert min(curves[0]) >= 0


def test_two_configurations_are_too_few() -> None:
    """And it is said."""
    with pytest.raises(ValueError, match="give 3 configurations or more"):
        fit_curves(np.ones((1, 2, 4)), np.ones((2, 4)))
