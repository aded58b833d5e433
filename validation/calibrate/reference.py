"""The speed at which samples count: the machine undisturbed, if it was so often enough when the calibration began.

    probe between passes of the model, as a replay does, for some seconds -> the time to measure at
    -> kept with the samples, and used again on resuming
    a probe before and after each sample -> it counts if both were as fast, and if it hardly waited for a core

Limits: where the machine's speed changed for good after the beginning, few samples count; `--fresh` takes a new reference.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hardware_profiles.quantity import format_seconds
from validation.runtime.patience import Patience
from validation.runtime.speed import probe_ns, reference_ns
from validation.runtime.waiting import waited_ns

_MOST_PROBES, _LEAST_PROBES = 400, 20
_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The time of the probe to measure at, in ns; the probes behind it, and when they began (UTC, ISO 8601)."""

    speed_ns: float
    probes_ns: Sequence[float]
    began: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What samples have to be taken at to count, in ns of the probe; the probe; `settle` finds the fastest core first.

    `settle_all` does so too and returns the probe of the slowest core, for what is computed on several.
    `waited_ns` tells for how long the threads of the process have waited for a core up to now; `patience` is for spells in
    which nothing would count.
    """

    reference_ns: float
    probe_ns: Callable[[], float] = probe_ns
    settle: Callable[[], float] = probe_ns
    settle_all: Callable[[], float] = probe_ns
    waited_ns: Callable[[], float] = waited_ns
    patience: Patience = field(default_factory=lambda: Patience(0.0))


def take_reference(
    between: Callable[[], object],
    probe: Callable[[], float] = probe_ns,
    *,
    at_speed_ns: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Reference:
    """Probe for 20 seconds, 20 to 400 times, with `between` in between: what leaves caches as cold as what is measured.

    `at_speed_ns` is the speed to measure at, if that is known already, whatever these probes say.
    """
    began, began_s = datetime.now(UTC).isoformat(timespec="seconds"), clock()
    probes_ns: list[float] = []
    while len(probes_ns) < _MOST_PROBES and (len(probes_ns) < _LEAST_PROBES or clock() - began_s < _SECONDS):
        between()
        probes_ns.append(probe())
    speed_ns = reference_ns(probes_ns) if at_speed_ns is None else at_speed_ns
    return Reference(speed_ns=speed_ns, probes_ns=tuple(probes_ns), began=began)


def speed_in_words(reference_ns: float, counted_frac: float) -> str:
    """Say the reference, and the share of the samples that were taken at it."""
    return f"probe {format_seconds(reference_ns / 1e9)}, {counted_frac:.0%} of samples counted"
