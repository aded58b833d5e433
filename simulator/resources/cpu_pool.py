"""Experts that the CPU's workers compute, whether or not they share the bandwidth of host memory with others.

Jobs are computed first come first served, each by one worker: the one that is free first, the lowest of several. They may be
queued whenever an expert is known, also before the layer that needs it, and waited for whenever their results are needed,
also in a later layer.

Without a memory, when a job ends is known as it is queued, and nothing costs an event. With one, a job is a flow that takes
its time by itself where memory is not short, and longer where it is; when it ends is known when it has. In either case:

    jobs = [pool.queue(key, duration_ns, demand) for key in keys]
    ended = pool.ended(jobs)
    if ended is not None:
        yield ended
    done_ns = last_end_ns(jobs)

Limits: those of simulator/resources/cpu.py, but for workers that slow each other down and the link where there is a memory,
and those of host_memory.py; a job in the queue cannot be overtaken or cancelled. What copies take from a worker's speed is
simulator/slowed_work.py's.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import simpy
from simpy.events import URGENT

from simulator.resources.clock import Clock
from simulator.resources.cpu import CpuWorkers

UNKNOWN_NS = -1
"""A time that is not known yet."""


class Flows(Protocol):
    """What jobs are flows of: `simulator.resources.host_memory.HostMemory`, or `simulator.slowed_work.SlowedWork`."""

    def start(self, rank: int, demand: int, duration_ns: int, on_end: Callable[[], None], /) -> object:
        """Start work that takes `duration_ns` by itself; `on_end` is called when it has ended, at a later instant."""


class PooledJob:
    """One expert for the CPU. `worker` and the times are UNKNOWN_NS until they are known."""

    __slots__ = ("demand", "duration_ns", "end_ns", "key", "layer", "start_ns", "worker")

    def __init__(self, key: int, layer: int, duration_ns: int, demand: int) -> None:
        self.key = key
        self.layer = layer
        self.duration_ns = duration_ns
        self.demand = demand
        self.worker = UNKNOWN_NS
        self.start_ns = UNKNOWN_NS
        self.end_ns = UNKNOWN_NS


class CpuPool:
    """Workers that are alike, of the ranks from `first_rank` on in `memory`.

    `on_job`, if given, is called once for each job, as soon as its times are known. Raises ValueError for fewer than one
    worker.
    """

    def __init__(
        self,
        env: Clock,
        num_workers: int,
        *,
        memory: Flows | None = None,
        first_rank: int = 0,
        on_job: Callable[[PooledJob], None] | None = None,
    ) -> None:
        self.num_workers = num_workers
        self._workers = CpuWorkers(num_workers)  # used without a memory
        self._env = env
        self._memory = memory
        self._first_rank = first_rank
        self._on_job = on_job
        self._computing: list[PooledJob | None] = [None] * num_workers
        self._free_ns = [0] * num_workers  # since when each is idle, where it is
        self._queue: deque[PooledJob] = deque()
        self._waits: list[tuple[simpy.Event, Sequence[PooledJob]]] = []
        self._busy_ns = 0  # of jobs whose times are known

    def queue(self, key: int, duration_ns: int, demand: int = 1, *, layer: int = 0) -> PooledJob:
        """Queue a job that comes now.

        It takes `duration_ns` by itself and then draws `demand` bytes/s on memory. `key` and `layer` are for who reads it.
        """
        job = PooledJob(key, layer, duration_ns, demand)
        self.submit(job)
        return job

    def submit(self, job: PooledJob) -> None:
        """Queue a job that was made before. Where some are made long before they come, the pool needs a memory."""
        if self._memory is None:
            times = self._workers.queue(self._env.now, job.duration_ns)
            job.worker, job.start_ns, job.end_ns = times.worker, times.start_ns, times.end_ns
            self._busy_ns += job.duration_ns
            if self._on_job is not None:
                self._on_job(job)
        else:
            self._queue.append(job)
            self._start_jobs(self._memory)

    def busy_ns(self) -> int:
        """Return the time for which workers have been computing, up to now, added up over them."""
        now = self._env.now
        if self._memory is None:
            return self._busy_ns - sum(self._workers.left_ns(now))
        return self._busy_ns + sum(now - job.start_ns for job in self._computing if job is not None)

    def ended(self, jobs: Iterable[PooledJob]) -> simpy.Event | None:
        """Return an event that comes when all of these jobs have ended; None if it is known already when they do."""
        unknown = [job for job in jobs if job.end_ns == UNKNOWN_NS]
        if not unknown:
            return None
        event = simpy.Event(self._env)
        self._waits.append((event, unknown))
        return event

    def _start_jobs(self, memory: Flows) -> None:
        """Have idle workers take jobs, whoever has been idle longest first, the lowest of several."""
        while self._queue and None in self._computing:
            idle = [worker for worker, job in enumerate(self._computing) if job is None]
            worker = min(idle, key=self._free_ns.__getitem__)
            job = self._queue.popleft()
            job.worker, job.start_ns = worker, self._env.now
            if job.duration_ns == 0:
                self._free_ns[worker] = self._env.now
                self._end(job)
                continue
            self._computing[worker] = job
            rank = self._first_rank + worker
            memory.start(rank, job.demand, job.duration_ns, partial(self._worker_ended, worker))

    def _worker_ended(self, worker: int) -> None:
        job = self._computing[worker]
        assert job is not None
        assert self._memory is not None
        self._computing[worker] = None
        self._free_ns[worker] = self._env.now
        self._end(job)
        self._start_jobs(self._memory)

    def _end(self, job: PooledJob) -> None:
        job.end_ns = self._env.now
        self._busy_ns += job.end_ns - job.start_ns
        if self._on_job is not None:
            self._on_job(job)
        if not self._waits:
            return
        going_on = []
        for event, jobs in self._waits:
            if any(other.end_ns == UNKNOWN_NS for other in jobs):
                going_on.append((event, jobs))
            else:
                event._ok, event._value = True, None
                self._env.schedule(event, URGENT)
        self._waits = going_on


def last_end_ns(jobs: Iterable[PooledJob]) -> int:
    """Return when the last of some jobs ends or has ended, which is known of all of them; 0 if there are none."""
    return max((job.end_ns for job in jobs), default=0)
