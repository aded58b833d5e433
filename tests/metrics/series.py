"""Series whose mean and correlation are known."""

import numpy as np
from numpy.typing import NDArray


def autoregressive(
    seed: int, count: int, *, correlation: float, mean: float = 0.0, start: float | None = None
) -> NDArray[np.float64]:
    """Return a series in which each value is `correlation` times the last, about its mean, plus a normal one.

    It begins at `start`, or in its steady state.
    """
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(count)
    values = np.empty(count)
    last = noise[0] / (1 - correlation**2) ** 0.5 if start is None else start - mean
    for index in range(count):
        last = correlation * last + noise[index]
        values[index] = mean + last
    return values
