"""Fit what a loss costs: ln of the ratio of perplexities over shares of the gate's mass, for each kind of loss.

A kind has one mass or several (what is dropped of tokens' strongest picks, and of their weaker ones); each has a curve
a m + b m^2 with a, b >= 0, and they add: no loss costs nothing, and more loss costs more. Of all combinations of forms
(a alone, b alone, both) the simplest is taken of those that foretell a configuration best when it is left out. A
configuration's weight falls with the error of its own mean over segments, and with its size: it is taken to lie within
some share of the curve.

The band holds nine of ten new configurations: it is made of curves fitted to resampled segments and configurations, each
moved by the scatter of the configurations about the curve that is more than their segments explain, and again written as
two coefficients for each mass, fitted to the quantiles. Where a kind has several masses, their bands add, which is more
than nine of ten.

Legend: P masses of a kind, C configurations, S segments, D draws, M points of a curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

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
_LEAST_SIGMA = 1e-6
_ALIKE, _NEGLIGIBLE = 1.05, 0.01  # scores within this factor of the best, and so much more, are as good
_NUM_DRAWS = 1000
_NUM_POINTS = 20

Form = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Curves [P], as `simulator.quality.Curve`, and how good they are.

    `left_out` [C] is what the others foretell of each configuration; `score` the root mean square of its error in units of
    the expected one, `scores` those of all forms, and with one mass that of an isotonic curve; `scatter_frac` how far
    configurations lie from the curve beyond the error of their segments.
    """

    form: Form
    low: Sequence[Pair]
    mid: Sequence[Pair]
    high: Sequence[Pair]
    measured_to: Sequence[float]
    left_out: Sequence[float]
    score: float
    scores: Mapping[str, float]
    scatter_frac: float


def fit_curves(masses_PCS: Floats, costs_CS: Floats, *, seed: int = 0) -> Fit:
    """Fit curves to configurations of one kind of loss. Raises ValueError for fewer than three."""
    if masses_PCS.shape[1:] != costs_CS.shape or len(costs_CS) < LEAST_CONFIGURATIONS:
        raise ValueError(
            f"masses {masses_PCS.shape}, costs {costs_CS.shape}; give {LEAST_CONFIGURATIONS} configurations or more of each"
        )
    masses_PC, costs_C = masses_PCS.mean(axis=2), costs_CS.mean(axis=1)
    errors_C = _errors(costs_CS)
    sigmas_C = np.hypot(errors_C, _SCATTER_FRAC * np.maximum(costs_C, 0)) + _LEAST_SIGMA
    left_out = {form: _left_out(form, masses_PC, costs_C, sigmas_C) for form in product(FORMS, repeat=len(masses_PC))}
    scores = {form: _score(costs_C, found, sigmas_C) for form, found in left_out.items()}
    good = _ALIKE * min(scores.values()) + _NEGLIGIBLE
    form = min(
        (one for one in scores if scores[one] <= good),
        key=lambda one: (sum(sum(FORMS[name]) for name in one), scores[one]),
    )
    named = {" + ".join(one): score for one, score in scores.items()}
    if len(masses_PC) == 1:
        named["isotonic"] = _score(costs_C, _left_out_isotonic(masses_PC[0], costs_C, sigmas_C), sigmas_C)
    foretold_C = left_out[form]
    scatter_frac = _scatter(costs_C, foretold_C, errors_C)
    low, high = _band(form, masses_PCS, costs_CS, sigmas_C, scatter_frac, seed)
    return Fit(
        form=form,
        low=low,
        mid=_curves(form, masses_PC, costs_C, sigmas_C),
        high=high,
        measured_to=masses_PC.max(axis=1).tolist(),
        left_out=foretold_C.tolist(),
        score=scores[form],
        scores=named,
        scatter_frac=scatter_frac,
    )


def cost_at(coefficients: Sequence[Pair], masses_PN: Floats) -> Floats:
    """Return what masses [P, N] cost by curves [P]."""
    found: Floats = np.zeros(masses_PN.shape[1])
    for (linear, square), masses_N in zip(coefficients, masses_PN, strict=True):
        found = found + linear * masses_N + square * masses_N**2
    return found


def _errors(costs_CS: Floats) -> Floats:
    """Return the standard errors of means over segments [C]."""
    num_segments = costs_CS.shape[1]
    if num_segments < 2:
        return np.zeros(len(costs_CS))
    errors: Floats = costs_CS.std(axis=1, ddof=1) / np.sqrt(num_segments)
    return errors


def _scatter(costs_C: Floats, foretold_C: Floats, errors_C: Floats) -> float:
    """Return how far configurations lie from what is foretold, as a share of it, beyond the error of their segments."""
    beyond = float(((costs_C - foretold_C) ** 2 - errors_C**2).sum())
    size = max(float((foretold_C**2).sum()), float((errors_C**2).sum()), _LEAST_SIGMA**2)
    return min(_MOST_SCATTER_FRAC, float(np.sqrt(max(0.0, beyond / size))))


def _curves(form: Form, masses_PC: Floats, costs_C: Floats, sigmas_C: Floats) -> list[Pair]:
    """Fit the coefficients of a form by least squares, none below 0."""
    columns = [
        masses_C**power * used / sigmas_C
        for name, masses_C in zip(form, masses_PC, strict=True)
        for power, used in zip((1, 2), FORMS[name], strict=True)
    ]
    found, _ = nnls(np.stack(columns, axis=1), costs_C / sigmas_C)
    return [(float(linear), float(square)) for linear, square in found.reshape(-1, 2)]


def _left_out(form: Form, masses_PC: Floats, costs_C: Floats, sigmas_C: Floats) -> Floats:
    """Return what curves fitted to the others say of each configuration."""
    found = []
    for one in range(len(costs_C)):
        others = np.arange(len(costs_C)) != one
        curves = _curves(form, masses_PC[:, others], costs_C[others], sigmas_C[others])
        found.append(cost_at(curves, masses_PC[:, [one]]))
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
    form: Form, masses_PCS: Floats, costs_CS: Floats, sigmas_C: Floats, scatter_frac: float, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Return, for each mass, the curves below and above which one in twenty new configurations lies."""
    generator = np.random.default_rng(seed)
    _, num_configurations, num_segments = masses_PCS.shape
    drawn = []
    while len(drawn) < _NUM_DRAWS:
        segments = generator.integers(0, num_segments, num_segments)
        chosen = generator.integers(0, num_configurations, num_configurations)
        masses_PC, costs_C = (array[..., chosen, :][..., segments].mean(axis=-1) for array in (masses_PCS, costs_CS))
        if not masses_PC.any(axis=1).all():
            continue  # nothing is drawn that tells of one of the masses
        curves = np.array(_curves(form, masses_PC, costs_C, sigmas_C[chosen]))
        drawn.append(curves * np.exp(scatter_frac * generator.standard_normal()))
    drawn_DP2 = np.stack(drawn)
    low, high = [], []
    for part, most in enumerate(masses_PCS.mean(axis=2).max(axis=1)):
        points_M = np.linspace(0, most, _NUM_POINTS + 1)[1:]
        values_DM = drawn_DP2[:, part, :1] * points_M + drawn_DP2[:, part, 1:] * points_M**2
        for bound, quantile_M in zip((low, high), np.quantile(values_DM, BAND, axis=0), strict=True):
            bound += _curves(("both",), points_M[None], quantile_M, points_M)
    return low, high
