"""For how long the threads of this process could have run, and no core was free for them.

Whatever else runs on the machine takes cores away for milliseconds at a time. The kernel keeps count of the time that each
thread has waited for a core, independently of what the thread does: calibration keeps the samples, and a replay marks the
steps, in which that was next to nothing.

Source: Linux, Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat: time spent waiting on a run queue, in ns.

Limits: Linux with CONFIG_SCHED_INFO, elsewhere no waiting is ever seen; what a hypervisor takes is not either; what a thread
waited is forgotten when it ends.
"""

import os
from contextlib import suppress
from pathlib import Path

MOST_FRAC = 0.02
"""How much of a stretch of time may be lost to waiting for the stretch to count as undisturbed."""

_TASKS = Path("/proc/self/task")


def waited_ns() -> int:
    """Return for how long the threads that live have waited for a core up to now, all together."""
    total_ns = 0
    with suppress(OSError):
        for task in os.listdir(_TASKS):  # noqa: PTH208 - names alone are wanted, and quickly
            with suppress(OSError, IndexError), open(f"{_TASKS}/{task}/schedstat", "rb") as file:  # noqa: PTH123 - as above
                total_ns += int(file.read().split()[1])
    return total_ns


def is_undisturbed(waited: float, elapsed: float) -> bool:
    """Tell whether a stretch of time counts, of which `waited` was lost; both in the same unit."""
    return waited <= MOST_FRAC * elapsed
