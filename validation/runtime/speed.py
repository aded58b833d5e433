"""How fast the processor is at this moment, by a fixed piece of scalar work.

On a shared machine a core may be twice as slow for seconds or minutes, because others use its sibling thread, its clock or
its memory. The probe tells such times apart, independently of what is being measured: calibration keeps the samples that
were taken at one speed, and a replay says of each step whether the machine was as fast as then.

Limits: one core at one moment. What slows memory alone, or comes and goes between two probes, is not seen.
"""

import time
from collections.abc import Sequence

import numpy as np

TOLERANCE = 0.3
"""How far a probe may lie from the reference, as a share of it, for the machine to count as equally fast."""

_LEAST_FRAC = 0.2
_FASTEST = 0.05

_ITERATIONS = 4000
_TRIES = 2


def probe_ns() -> int:
    """Time the fixed work, the better of two tries: some 0.1 ms."""
    best = 1 << 62
    for _ in range(_TRIES):
        began_ns = time.perf_counter_ns()
        total = 0
        for number in range(_ITERATIONS):
            total += number
        best = min(best, time.perf_counter_ns() - began_ns)
    return best


def reference_ns(probes_ns: Sequence[float]) -> float:
    """Return the speed to measure at: undisturbed, if that is seen often enough, else the one that prevails.

    The former is the median of the probes within the tolerance of the fastest twentieth, if they are a fifth of all; the
    latter the median of those within the tolerance of the median of all. Raises ValueError if there are none.
    """
    if not len(probes_ns):
        raise ValueError("no probes")
    probes = np.asarray(probes_ns, dtype=np.float64)
    for centre in np.quantile(probes, [_FASTEST, 0.5]):
        near = probes[np.abs(probes / centre - 1) <= TOLERANCE]
        if len(near) >= _LEAST_FRAC * len(probes):
            return float(np.median(near))
    return float(np.median(probes))


def is_as_fast(probe: float, reference: float) -> bool:
    """Tell whether a probe shows the speed of the reference."""
    return abs(probe / reference - 1) <= TOLERANCE
