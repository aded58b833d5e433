"""Fit what a loss costs: ln of the ratio of perplexities over a share of the gate's mass, for each kind of loss.

Curves are a m + b m^2 with a, b >= 0: no loss costs nothing, and more loss costs more. Of the three forms (a alone, b alone,
both) the simplest is taken of those that foretell a configuration best when it is left out. A configuration's weight falls
with the error of its own mean over segments, and with its size: it is taken to lie within some share of the curve.

The band holds nine of ten new configurations: it is made of curves fitted to resampled segments and configurations, each
moved by the scatter of the configurations about the curve that is more than their segments explain, and again written as
two coefficients, fitted to the quantiles.

Legend: C configurations, S segments, D draws, M points of a curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, nnls

Floats = NDArray[np.float64]
Pair = tuple[float, float]
FORMS: Mapping[str, tuple[bool, bool]] = {"linear": (True, False), "square": (False, True), "both": (True, True)}
BAND = (0.05, 0.95)
LEAST_CONFIGURATIONS = 3
_SCATTER_FRAC = 0.2  # of a configuration about its curve, for the weights alone
_MOST_SCATTER_FRAC = 1.0
_NUM_HALVINGS = 20
_LEAST_SIGMA = 1e-6
_ALIKE, _NEGLIGIBLE = 1.05, 0.01  # scores within this factor of the best, and so much more, are as good
_NUM_DRAWS = 1000
_NUM_POINTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A curve, as `simulator.quality.Curve`, and how good it is.

    `left_out` [C] is what the others foretell of each configuration; `score` the root mean square of its error in units of
    the expected one, `scores` those of all forms, and of a curve that only rises; `scatter_frac` how far
    configurations lie from the curve beyond the error of their segments.
    """

    form: str
    low: Pair
    mid: Pair
    high: Pair
    measured_to: float
    left_out: Sequence[float]
    score: float
    scores: Mapping[str, float]
    scatter_frac: float


def fit_curve(masses_CS: Floats, costs_CS: Floats, *, seed: int = 0) -> Fit:
    """Fit a curve to configurations of one kind of loss. Raises ValueError for fewer than three."""
    if masses_CS.shape != costs_CS.shape or len(costs_CS) < LEAST_CONFIGURATIONS:
        raise ValueError(
            f"masses {masses_CS.shape}, costs {costs_CS.shape}; give {LEAST_CONFIGURATIONS} configurations or more of each"
        )
    masses_C, costs_C = masses_CS.mean(axis=1), costs_CS.mean(axis=1)
    errors_C = _errors(costs_CS)
    sigmas_C = np.hypot(errors_C, _SCATTER_FRAC * np.maximum(costs_C, 0)) + _LEAST_SIGMA
    left_out = {form: _left_out(form, masses_C, costs_C, sigmas_C) for form in FORMS}
    scores = {form: _score(costs_C, found, sigmas_C) for form, found in left_out.items()}
    good = _ALIKE * min(scores.values()) + _NEGLIGIBLE
    form = min((one for one in scores if scores[one] <= good), key=lambda one: (sum(FORMS[one]), scores[one]))
    scores["isotonic"] = _score(costs_C, _left_out_isotonic(masses_C, costs_C, sigmas_C), sigmas_C)
    scatter_frac = _scatter(costs_C, left_out[form], errors_C)
    low, high = _band(form, masses_CS, costs_CS, sigmas_C, scatter_frac, seed)
    return Fit(
        form=form,
        low=low,
        mid=_polynomial(form, masses_C, costs_C, sigmas_C),
        high=high,
        measured_to=float(masses_C.max()),
        left_out=left_out[form].tolist(),
        score=scores[form],
        scores=scores,
        scatter_frac=scatter_frac,
    )


def cost_at(coefficients: Pair, masses_N: Floats) -> Floats:
    """Return what masses cost by a curve."""
    linear, square = coefficients
    found: Floats = linear * masses_N + square * masses_N**2
    return found


def _errors(costs_CS: Floats) -> Floats:
    """Return the standard errors of means over segments [C]."""
    num_segments = costs_CS.shape[1]
    if num_segments < 2:
        return np.zeros(len(costs_CS))
    errors: Floats = costs_CS.std(axis=1, ddof=1) / np.sqrt(num_segments)
    return errors


def _scatter(costs_C: Floats, foretold_C: Floats, errors_C: Floats) -> float:
    """Return how far configurations lie from what is foretold, as a share of it, beyond the error of their segments.

    With it as part of the expected error, the errors are as large as expected, each configuration counting the same.

    Source: Paule and Mandel, J. Res. NBS 87 (1982), between-laboratory variance; here a share of the value.
    """
    squares_C = (costs_C - foretold_C) ** 2
    least, most = 0.0, _MOST_SCATTER_FRAC
    for _ in range(_NUM_HALVINGS):
        share = (least + most) / 2
        expected_C = errors_C**2 + (share * foretold_C) ** 2 + _LEAST_SIGMA**2
        least, most = (share, most) if (squares_C / expected_C).mean() > 1 else (least, share)
    return most


def _polynomial(form: str, masses_C: Floats, costs_C: Floats, sigmas_C: Floats) -> Pair:
    """Fit the coefficients of a form by least squares, none below 0."""
    columns = np.stack([masses_C, masses_C**2], axis=1) * np.array(FORMS[form], float) / sigmas_C[:, None]
    (linear, square), _ = nnls(columns, costs_C / sigmas_C)
    return float(linear), float(square)


def _left_out(form: str, masses_C: Floats, costs_C: Floats, sigmas_C: Floats) -> Floats:
    """Return what a curve fitted to the others says of each configuration."""
    found = []
    for one in range(len(costs_C)):
        others = np.arange(len(costs_C)) != one
        curve = _polynomial(form, masses_C[others], costs_C[others], sigmas_C[others])
        found.append(cost_at(curve, masses_C[[one]]))
    return np.concatenate(found)


def _left_out_isotonic(masses_C: Floats, costs_C: Floats, sigmas_C: Floats) -> Floats:
    """Return the same of a curve that only rises, straight between the configurations, from 0 at no mass."""
    found = []
    for one in range(len(masses_C)):
        others = np.flatnonzero(np.arange(len(masses_C)) != one)
        others = others[np.argsort(masses_C[others], kind="stable")]
        rising = isotonic_regression(costs_C[others], weights=sigmas_C[others] ** -2).x
        found.append(np.interp(masses_C[one], [0.0, *masses_C[others]], [0.0, *np.maximum(rising, 0)]))
    return np.array(found)


def _score(costs_C: Floats, foretold_C: Floats, sigmas_C: Floats) -> float:
    return float(np.sqrt((((costs_C - foretold_C) / sigmas_C) ** 2).mean()))


def _band(
    form: str, masses_CS: Floats, costs_CS: Floats, sigmas_C: Floats, scatter_frac: float, seed: int
) -> tuple[Pair, Pair]:
    """Return the curves below and above which one in twenty new configurations lies."""
    generator = np.random.default_rng(seed)
    num_configurations, num_segments = costs_CS.shape
    drawn: list[Floats] = []
    while len(drawn) < _NUM_DRAWS:
        segments = generator.integers(0, num_segments, num_segments)
        chosen = generator.integers(0, num_configurations, num_configurations)
        masses_C, costs_C = (array[chosen][:, segments].mean(axis=1) for array in (masses_CS, costs_CS))
        curve = np.array(_polynomial(form, masses_C, costs_C, sigmas_C[chosen]))
        drawn.append(curve * np.exp(scatter_frac * generator.standard_normal()))
    linear_D, square_D = np.stack(drawn, axis=1)
    points_M = np.linspace(0, masses_CS.mean(axis=1).max(), _NUM_POINTS + 1)[1:]
    values_DM = linear_D[:, None] * points_M + square_D[:, None] * points_M**2
    low, high = (_polynomial("both", points_M, one_M, points_M) for one_M in np.quantile(values_DM, BAND, axis=0))
    return low, high
