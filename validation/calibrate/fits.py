"""Turn measured medians into the parameters and tables of a profile.

    line        latency + amount / rate
    roofline    launch + max(bytes / bandwidth, FLOP / FLOP/s)
    table       the nearest table that does not descend (isotonic regression)
    additive    table(tokens) + table(attended tokens), the second zero at zero and rising

All fits but the table minimise relative residuals, under bounds (nothing is negative) and a robust loss (`soft_l1`: a
residual beyond 2 % counts by its size, no longer by its square), so that neither the longest durations nor an outlier
decide alone.

Limits: a fit reports how far it misses each point and leaves the judgement to its reader.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, least_squares, nnls

Floats = NDArray[np.float64]
LOSS_SCALE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Parameters by name (in base units), and per point the prediction in seconds and (predicted - measured) / measured."""

    parameters: Mapping[str, float]
    predicted_s: tuple[float, ...]
    relative_residuals: tuple[float, ...]
    largest_relative_residual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFit:
    """A table of ascending amounts whose seconds do not descend, and how far it misses each measured point."""

    amounts: tuple[float, ...]
    seconds: tuple[float, ...]
    fit: Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditiveFit:
    """`first` by tokens plus `second` by attended tokens; `fit` is that of their sum."""

    first: TableFit
    second: TableFit
    fit: Fit


def fit_line(amounts: Sequence[float], seconds: Sequence[float]) -> Fit:
    """Fit `latency_s + amount / rate` to two points or more; parameters `latency_s` and `rate` (amount per second)."""
    x, y = _points(amounts, seconds)
    design = np.stack([np.ones_like(x), x / x.mean()], axis=1)
    latency, slope = _robust_linear(design, y)
    slope /= x.mean()
    rate = 1 / slope if slope > 0 else float("inf")
    return _fit({"latency_s": latency, "rate": rate}, latency + slope * x, y)


def fit_roofline(
    num_bytes: Sequence[float], flops: Sequence[float], seconds: Sequence[float], *, launch_s: float | None = None
) -> Fit:
    """Fit `launch_s + max(bytes / bandwidth, flops / flops_per_s)` to kernels that move `num_bytes` and do `flops`.

    Parameters `launch_s`, `bandwidth_bytes_per_s`, `flops_per_s`; a given `launch_s` is kept. Kernels of one size in bytes
    tell launch and bandwidth apart only if some are bound by arithmetic. A resource that binds no point is at least as
    fast as the parameter says.
    """
    moved, y = _points(num_bytes, seconds)
    done = np.asarray(flops, dtype=np.float64)
    per_byte, per_flop = moved / moved.mean(), done / done.mean()
    scale = float(np.median(y))
    fixed = None if launch_s is None else launch_s / scale

    def predict(theta: Floats) -> Floats:
        launch = theta[2] if fixed is None else fixed
        units: Floats = launch + np.maximum(theta[0] * per_byte, theta[1] * per_flop)
        return units * scale

    best: Floats | None = None
    least = float("inf")
    base = float(y.min()) / scale
    for memory in (0.3 * base, 0.9 * base):
        for arithmetic in np.geomspace(0.05 * base, 2.0 * float(y.max()) / scale, 8):
            start = np.array([memory, arithmetic] + ([0.1 * base] if fixed is None else []))
            found = _minimise(predict, start, y)
            if found.cost < least:
                least, best = found.cost, found.theta
    assert best is not None
    memory_s, arithmetic_s = (max(float(value) * scale, 1e-15) for value in best[:2])
    launch = float(best[2]) * scale if fixed is None else float(launch_s or 0.0)
    return _fit(
        {
            "launch_s": launch,
            "bandwidth_bytes_per_s": float(moved.mean()) / memory_s,
            "flops_per_s": float(done.mean()) / arithmetic_s,
        },
        predict(best),
        y,
    )


def fit_table(amounts: Sequence[float], seconds: Sequence[float], weights: Sequence[float] | None = None) -> TableFit:
    """Return the table nearest to the points that does not descend; of equal amounts one entry is made.

    `weights` are how much each point counts: by default 1 / seconds squared, so that relative misses count alike.
    """
    x, y = _points(amounts, seconds)
    weight = 1 / y**2 if weights is None else np.asarray(weights, dtype=np.float64)
    knots, where = np.unique(x, return_inverse=True)
    total = np.bincount(where, weight)
    means = np.bincount(where, weight * y) / total
    table = isotonic_regression(means, weights=total).x
    predicted = table[where]
    return TableFit(
        amounts=tuple(knots.tolist()), seconds=tuple(float(value) for value in table), fit=_fit({}, predicted, y)
    )


def fit_slope(amounts: Sequence[float], seconds: Sequence[float]) -> Fit:
    """Fit `base_s + per_unit_s * amount`; parameters by these names, neither below zero."""
    fit = fit_line(amounts, seconds)
    rate = fit.parameters["rate"]
    per_unit = 0.0 if rate == float("inf") else 1 / rate
    return Fit(
        parameters={"base_s": fit.parameters["latency_s"], "per_unit_s": per_unit},
        predicted_s=fit.predicted_s,
        relative_residuals=fit.relative_residuals,
        largest_relative_residual=fit.largest_relative_residual,
    )


def fit_additive(
    tokens: Sequence[float], attended: Sequence[float], seconds: Sequence[float], *, num_knots: int = 2
) -> AdditiveFit:
    """Fit `first(tokens) + second(attended)` to grid points, both tables rising, the second from zero at zero.

    The first has an entry for each number of tokens, the second one at zero and one for each of at most `num_knots` of
    the attended amounts, linear between them. Few knots: what the second rises below the least amount that was measured
    is told from the first by its slope above it alone.
    """
    x, y = _points(tokens, seconds)
    z = np.asarray(attended, dtype=np.float64)
    levels, where = np.unique(x, return_inverse=True)
    amounts = np.unique(z)
    picked = np.unique(np.round(np.linspace(0, len(amounts) - 1, num_knots + 1)[1:]).astype(int))
    knots = amounts[picked]
    steps = (where[:, None] >= np.arange(len(levels))[None, :]).astype(np.float64)
    starts = np.concatenate([[0.0], knots[:-1]])
    ramps = np.clip((z[:, None] - starts[None, :]) / (knots - starts)[None, :], 0.0, 1.0)
    design = np.concatenate([steps, ramps], axis=1)
    theta = _robust_linear(design, y)
    first, second = np.cumsum(theta[: len(levels)]), np.cumsum(theta[len(levels) :])
    predicted = design @ theta
    whole = _fit({}, predicted, y)
    return AdditiveFit(
        first=TableFit(amounts=tuple(levels.tolist()), seconds=tuple(first.tolist()), fit=whole),
        second=TableFit(amounts=(0.0, *knots.tolist()), seconds=(0.0, *second.tolist()), fit=whole),
        fit=whole,
    )


@dataclass(frozen=True, slots=True)
class _Minimum:
    theta: Floats
    cost: float


def _minimise(predict: Callable[[Floats], Floats], start: Floats, measured: Floats) -> _Minimum:
    def residuals(theta: Floats) -> Floats:
        return predict(theta) / measured - 1

    found = least_squares(
        residuals,
        start,
        bounds=(0.0, np.inf),
        loss="soft_l1",
        f_scale=LOSS_SCALE,
        x_scale="jac",
        max_nfev=500,
    )
    return _Minimum(np.asarray(found.x, dtype=np.float64), float(found.cost))


def _robust_linear(design: Floats, measured: Floats) -> Floats:
    """Return non-negative coefficients of `design @ theta = measured`, in seconds."""
    scale = float(np.median(measured))
    start, _ = nnls(design / measured[:, None], np.ones_like(measured))

    def predict(theta: Floats) -> Floats:
        seconds: Floats = design @ theta
        return seconds * scale

    return _minimise(predict, np.maximum(start / scale, 1e-9), measured).theta * scale


def _points(amounts: Sequence[float], seconds: Sequence[float]) -> tuple[Floats, Floats]:
    x, y = np.asarray(amounts, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    assert x.shape == y.shape == (len(amounts),)
    assert len(x) > 0
    assert bool((y > 0).all()), "durations are above zero"
    return x, y


def _fit(parameters: Mapping[str, float], predicted: Floats, measured: Floats) -> Fit:
    relative = (predicted - measured) / measured
    return Fit(
        parameters={name: float(value) for name, value in parameters.items()},
        predicted_s=tuple(float(value) for value in predicted),
        relative_residuals=tuple(float(value) for value in relative),
        largest_relative_residual=float(np.abs(relative).max()),
    )
