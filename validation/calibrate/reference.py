"""The speed at which samples count: the machine undisturbed, if it was so often enough when the calibration began.

    probe, and move memory as a run does, for some seconds -> the time to measure at
    -> kept with the samples, and used again on resuming
    a probe before and after each sample -> it counts if both were as fast, and if it hardly waited for a core

Limits: where the machine's speed changed for good after the beginning, few samples count; `--fresh` takes a new reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from hardware_profiles.quantity import format_seconds
from validation.runtime.speed import probe_ns, reference_ns
from validation.runtime.waiting import waited_ns

_PROBES = 400
_MOVED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The time of the probe to measure at, in ns; the probes behind it, and when they began (UTC, ISO 8601)."""

    speed_ns: float
    probes_ns: Sequence[float]
    began: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What samples have to be taken at to count, in ns of the probe; the probe; `settle` finds the fastest core first.

    `waited_ns` tells for how long the threads of the process have waited for a core up to now.
    """

    reference_ns: float
    probe_ns: Callable[[], float] = probe_ns
    settle: Callable[[], float] = probe_ns
    waited_ns: Callable[[], float] = waited_ns


def take_reference(
    probe: Callable[[], float] = probe_ns,
    between: Callable[[], None] | None = None,
    count: int = _PROBES,
    at_speed_ns: float | None = None,
) -> Reference:
    """Probe `count` times, with memory moved in between, so that caches are as cold as among measurements.

    `at_speed_ns` is the speed to measure at, if that is known already, whatever these probes say.
    """
    began = datetime.now(UTC).isoformat(timespec="seconds")
    between = between or _move_memory()
    probes_ns = []
    for _ in range(count):
        probes_ns.append(probe())
        between()
    speed_ns = reference_ns(probes_ns) if at_speed_ns is None else at_speed_ns
    return Reference(speed_ns=speed_ns, probes_ns=tuple(probes_ns), began=began)


def _move_memory() -> Callable[[], None]:
    source = np.ones(_MOVED_BYTES, dtype=np.uint8)
    target = np.zeros_like(source)
    return lambda: np.copyto(target, source)


def speed_in_words(reference_ns: float, counted_frac: float) -> str:
    """Say the reference, and the share of the samples that were taken at it."""
    return f"probe {format_seconds(reference_ns / 1e9)}, {counted_frac:.0%} of samples counted"
