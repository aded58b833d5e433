"""The CPU's workers: each computes one expert at a time, first come first served.

Nothing preempts a worker and nothing waits for one but the end of a layer, so when a job ends is known when it is queued:
no events are needed.

Limits: workers do not slow each other or the link; the duration of a job does not depend on what else runs (where copies
slow workers, this is not used: simulator/slowed_work.py; what workers and the GPU take from each other is in
simulator/cpu_experts.py).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CpuJob:
    """When a worker computes an expert."""

    worker: int
    start_ns: int
    end_ns: int


class CpuWorkers:
    """Workers that are alike. Raises ValueError for fewer than one."""

    def __init__(self, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers is {num_workers}; it should be 1 or more")
        self._free_ns = [0] * num_workers

    def queue(self, now_ns: int, duration_ns: int) -> CpuJob:
        """Give a job that comes now to the worker that is free first, the lowest of several."""
        worker = min(range(len(self._free_ns)), key=self._free_ns.__getitem__)
        start_ns = max(now_ns, self._free_ns[worker])
        self._free_ns[worker] = start_ns + duration_ns
        return CpuJob(worker, start_ns, start_ns + duration_ns)

    def left_ns(self, now_ns: int) -> list[int]:
        """Return for how long each worker is still busy with what has been queued up to now."""
        return [max(0, free_ns - now_ns) for free_ns in self._free_ns]
