"""Keep the thread that computes on the core that is fastest at the moment, and the process's other threads off it.

On a shared machine one core may be slowed by its neighbours while another is not. Where the process may use one core alone,
or the system cannot bind threads, this only probes.

Limits: Linux; threads that are started later begin on the core of the thread that starts them, until `settle` is called.
"""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from validation.runtime.speed import probe_ns

_TASKS = Path("/proc/self/task")


_in_use = threading.Lock()


class Cores(AbstractContextManager["Cores"]):
    """The cores that the process may use. On leaving the context, all its threads may use them all again.

    `slowest_ns` is the largest of the cores' probes when the thread last settled: that of a core of the other threads.

    One at a time: a second would take the core that the first has bound the thread to for all there are. Entering it raises
    RuntimeError.
    """

    def __init__(self, probe: Callable[[], int] = probe_ns) -> None:
        self._probe = probe
        self._cores: list[int] = []
        self.slowest_ns = 0

    def __enter__(self) -> "Cores":
        if not _in_use.acquire(blocking=False):
            raise RuntimeError("the threads of this process are bound to cores already")
        self._cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return self

    def settle(self) -> int:
        """Move the calling thread to the fastest core; return the probe there, in ns."""
        if len(self._cores) < 2:
            self.slowest_ns = self._probe()
            return self.slowest_ns
        probes_ns = {}
        for core in self._cores:
            os.sched_setaffinity(0, {core})
            probes_ns[core] = self._probe()
        fastest = min(probes_ns, key=probes_ns.__getitem__)
        os.sched_setaffinity(0, {fastest})
        self._bind_others({core for core in self._cores if core != fastest})
        self.slowest_ns = max(probes_ns.values())
        return probes_ns[fastest]

    def settle_all(self) -> int:
        """Do the same; return the probe on the slowest core."""
        self.settle()
        return self.slowest_ns

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if len(self._cores) > 1:
                os.sched_setaffinity(0, self._cores)
                self._bind_others(set(self._cores))
        finally:
            _in_use.release()

    def _bind_others(self, cores: set[int]) -> None:
        own = threading.get_native_id()
        for task in os.listdir(_TASKS):  # noqa: PTH208 - names alone are wanted, and quickly
            if int(task) != own:
                with suppress(ProcessLookupError):  # a thread that has just ended
                    os.sched_setaffinity(int(task), cores)


def fastest_core_ns(probe: Callable[[], int] = probe_ns) -> int:
    """Return the probe on the fastest core, and leave all threads as free as they were."""
    with Cores(probe) as cores:
        return cores.settle()
