"""The speed at which samples count: that which prevailed when the calibration began.

    probe every 10 ms for 2 s -> the prevailing time -> kept with the samples, and used again on resuming
    a probe before and after each sample -> it counts if both were as fast

Limits: where the machine's speed changed for good after the beginning, few samples count; `--fresh` takes a new reference.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hardware_profiles.quantity import format_seconds
from validation.runtime.speed import prevailing_ns, probe_ns

_PROBES = 200
PAUSE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The prevailing time of the probe, in ns; the probes behind it, and when they began (UTC, ISO 8601)."""

    prevailing_ns: float
    probes_ns: Sequence[float]
    began: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What samples have to be taken at to count, in ns of the probe, and the probe."""

    reference_ns: float
    probe_ns: Callable[[], float] = probe_ns


def take_reference(
    probe: Callable[[], float] = probe_ns, pause: Callable[[float], None] = time.sleep, count: int = _PROBES
) -> Reference:
    """Probe `count` times, 10 ms apart."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    probes_ns = []
    for _ in range(count):
        probes_ns.append(probe())
        pause(PAUSE_S)
    return Reference(prevailing_ns=prevailing_ns(probes_ns), probes_ns=tuple(probes_ns), began=began)


def speed_in_words(reference_ns: float, counted_frac: float) -> str:
    """Say the reference, and the share of the samples that were taken at it."""
    return f"probe {format_seconds(reference_ns / 1e9)}, {counted_frac:.0%} of samples counted"
