"""Wait for the machine to be as fast as it should be, for so long in all and not longer.

On a shared machine a slow spell may last for minutes. What is measured in it does not count, so it is better to wait until
it is over, and to leave the machine alone meanwhile. Once patience is at its end, everything goes on at whatever speed.

Limits: what the machine does right after it was found fast enough is its own affair; that is what probes beside each sample
are for.
"""

import statistics
import time
from collections.abc import Callable

from validation.runtime.speed import is_as_fast, probe_ns

_PROBES = 5
_PAUSE_S = 1.0


class Patience:
    """At most `limit_s` of waiting, in all. `spent_s` is what has been waited up to now."""

    def __init__(
        self,
        limit_s: float,
        *,
        probe_ns: Callable[[], float] = probe_ns,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit_s = limit_s
        self.spent_s = 0.0
        self._probe_ns, self._clock, self._sleep = probe_ns, clock, sleep

    @property
    def left_s(self) -> float:
        """Return for how long it will still wait."""
        return max(0.0, self.limit_s - self.spent_s)

    def wait_for(
        self,
        reference_ns: float,
        tell: Callable[[], None] = lambda: None,
        *,
        probe_ns: Callable[[], float] | None = None,
    ) -> bool:
        """Return once the machine is as fast as `reference_ns`, or patience is at its end: whether it had to wait.

        `probe_ns` tells how fast it is, by default as it was given to the constructor.
        One probe finds out whether there is something to wait for, of which `tell` is told; the median of some, of which the
        first finds caches cold, whether it is over.
        """
        probe_ns = probe_ns or self._probe_ns
        if not self.left_s or is_as_fast(probe_ns(), reference_ns):
            return False
        tell()
        began_s, before_s = self._clock(), self.spent_s
        while self.left_s and not is_as_fast(statistics.median(probe_ns() for _ in range(_PROBES)), reference_ns):
            self._sleep(min(_PAUSE_S, self.left_s))
            self.spent_s = before_s + self._clock() - began_s
        return self.spent_s > before_s
