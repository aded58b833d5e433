"""How fast the machine is at this moment, by a fixed piece of work: as many small torch kernels as reading of memory.

On a shared machine a core may be twice as slow for seconds or minutes, because others use its sibling thread, its clock or
its memory. The probe tells such times apart, independently of what is being measured: calibration keeps the samples that
were taken at one speed, and a replay says of each step whether the machine was as fast as then.

A small kernel is mostly what it takes to launch it: interpreter, dispatcher, allocator, a few megabytes of code that others
push out of shared caches. The memory is some of a region larger than caches, of which each probe reads the next part, so
that it is in none. Some of both is done before the clock starts, so that the time depends little on what ran before.

Limits: one core at one moment. What comes and goes between two probes is not seen.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 0.1
"""How far a probe may lie from the reference, as a share of it, for the machine to count as equally fast."""

_LEAST_FRAC = 0.2
_FASTEST = 0.05

_WARM_UP_KERNELS, _KERNELS, _WIDTH = 4, 48, 64
_WARM_UP_BYTES, _BYTES = 1 << 20, 8 << 20
_PARTS = 16


def probe_ns() -> int:
    """Time the fixed work: some 0.5 ms."""
    part = _next_part()()
    _work(_WARM_UP_KERNELS, part[: _WARM_UP_BYTES // 8])
    began_ns = time.perf_counter_ns()
    _work(_KERNELS, part[_WARM_UP_BYTES // 8 :])
    return time.perf_counter_ns() - began_ns


def _work(num_kernels: int, memory: npt.NDArray[np.int64]) -> None:
    layer, state = _small_layer()
    for _ in range(num_kernels):
        layer(state)
    memory.max()


@cache
def _small_layer() -> "tuple[nn.Module, Tensor]":
    """Return a layer of which no gradient is taken, and one state for it. Nobody's random numbers are drawn."""
    import torch  # probes alone need it: what has been measured is compared without
    from torch import nn

    layer = nn.utils.skip_init(nn.Linear, _WIDTH, _WIDTH).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.fill_(1.0)
    return layer, torch.ones((1, _WIDTH))


@cache
def _next_part() -> Callable[[], npt.NDArray[np.int64]]:
    """Return what gives one part of the region after the other."""
    parts = cycle(np.ones((_PARTS, (_WARM_UP_BYTES + _BYTES) // 8), dtype=np.int64))
    return lambda: next(parts)


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
