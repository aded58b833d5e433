"""Experts that are computed on the CPU: a few workers, beside the main thread, first come first served.

Limits: workers are threads of this process, so their Python parts (not their kernels) share the interpreter lock; they
are not bound to cores.
"""

import threading
import warnings
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import perf_counter_ns

import torch
from torch import Tensor

_PATIENCE_S = 10.0
Work = Callable[[], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Computed:
    """One piece of work that has been done: for which key, by which worker, from when to when (perf_counter_ns).

    `job` is the number that `submit` gave it.
    """

    key: int
    job: int
    result: Tensor
    worker: int
    start_ns: int
    end_ns: int


class CpuPool:
    """`num_workers` threads, each with `threads_per_worker` threads of torch's own. Use as a context manager.

    `services` lists (key, worker, start_ns, end_ns) of all that was computed, in the order of its end. An exception in
    a worker is raised by the next `submit`, `completed`, `wait`, `join` or `ended`, or on leaving the context; the pool
    is closed by it.
    """

    def __init__(self, num_workers: int, threads_per_worker: int) -> None:
        """Start the workers. Raises ValueError for fewer than one of either."""
        if num_workers < 1 or threads_per_worker < 1:
            raise ValueError(f"{num_workers} workers of {threads_per_worker} threads; there should be one or more")
        self.services: list[tuple[int, int, int, int]] = []
        self._queue: deque[tuple[int, int, Callable[[], Tensor]]] = deque()
        self._ended: deque[Computed] = deque()
        self._num_jobs = 0
        self._num_under_way = 0  # queued, or in a worker's hands
        self._error: BaseException | None = None
        self._is_closed = False
        lock = threading.Lock()
        self._changed, self._has_work = threading.Condition(lock), threading.Condition(lock)
        threads_before = torch.get_num_threads()
        started = threading.Barrier(num_workers + 1)
        self._workers = [
            threading.Thread(
                target=self._work, args=(worker, threads_per_worker, started), name=f"cpu-expert-{worker}", daemon=True
            )
            for worker in range(num_workers)
        ]
        for thread in self._workers:
            thread.start()
        started.wait()
        torch.set_num_threads(threads_before)  # a thread's own setting is also the default of threads yet to come

    def submit(self, key: int, compute: Callable[[], Tensor]) -> int:
        """Queue a piece of work and return its number. Raises RuntimeError after `close`."""
        with self._changed:
            self._raise_error()
            if self._is_closed:
                raise RuntimeError("the pool is closed")
            job = self._num_jobs
            self._num_jobs += 1
            self._queue.append((job, key, compute))
            self._num_under_way += 1
            self._has_work.notify()
            return job

    def completed(self) -> list[Computed]:
        """Return what has ended since it was last asked for, without waiting."""
        with self._changed:
            self._raise_error()
            return self._drain()

    def wait(self) -> list[Computed]:
        """Return what has ended, at least one: wait for it if need be. Raises RuntimeError if nothing is under way."""
        with self._changed:
            while True:
                self._raise_error()
                if self._ended:
                    return self._drain()
                if not self._num_under_way:
                    raise RuntimeError("nothing is under way; a wait would last for ever")
                self._changed.wait()

    def join(self, jobs: Collection[int]) -> list[Computed]:
        """Wait until all of these have ended and return them, in the order of their ends; others are kept for later.

        Raises RuntimeError if some are not under way and have not ended, or were returned before.
        """
        with self._changed:
            while True:
                self._raise_error()
                if sum(one.job in jobs for one in self._ended) == len(jobs):
                    return self._take(jobs)
                if not self._num_under_way:
                    raise RuntimeError("nothing is under way; a wait would last for ever")
                self._changed.wait()

    def ended(self, jobs: Collection[int]) -> list[Computed]:
        """Return those of some jobs that have ended, without waiting."""
        with self._changed:
            self._raise_error()
            return self._take(jobs)

    def num_under_way(self) -> int:
        """Return how many pieces of work are queued or being computed."""
        return self._num_under_way

    def close(self) -> None:
        """Drop what is queued, let the workers end what they are at, and stop them.

        One that goes on for longer than ten seconds is left behind, with a RuntimeWarning.
        """
        with self._changed:
            self._is_closed = True
            self._num_under_way -= len(self._queue)
            self._queue.clear()
            self._has_work.notify_all()
        give_up_ns = perf_counter_ns() + round(_PATIENCE_S * 1e9)
        for thread in self._workers:
            thread.join(max(0.0, (give_up_ns - perf_counter_ns()) / 1e9))
        left = [thread.name for thread in self._workers if thread.is_alive()]
        if left:
            warnings.warn(f"{', '.join(left)}: still computing after {_PATIENCE_S:g} s", RuntimeWarning, stacklevel=2)

    def __enter__(self) -> "CpuPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self.close()
        if kind is None:
            self._raise_error()

    def _drain(self) -> list[Computed]:
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def _take(self, jobs: Collection[int]) -> list[Computed]:
        taken = [one for one in self._ended if one.job in jobs]
        self._ended = deque(one for one in self._ended if one.job not in jobs)
        return taken

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self, worker: int, num_threads: int, started: threading.Barrier) -> None:
        torch.get_num_threads()  # takes the default over, once; what is set before that would be lost
        torch.set_num_threads(num_threads)
        started.wait()
        with torch.inference_mode():
            while (task := self._next()) is not None:
                job, key, compute = task
                start_ns = perf_counter_ns()
                try:
                    result = compute()
                except BaseException as error:  # whatever it is, the main thread is to see it
                    self._failed(error)
                    return
                end_ns = perf_counter_ns()
                with self._changed:
                    self._num_under_way -= 1
                    self.services.append((key, worker, start_ns, end_ns))
                    self._ended.append(
                        Computed(key=key, job=job, result=result, worker=worker, start_ns=start_ns, end_ns=end_ns)
                    )
                    self._changed.notify_all()
                del task, compute, result  # a waiting worker keeps no tensors alive

    def _next(self) -> tuple[int, int, Callable[[], Tensor]] | None:
        """Return the next piece of work, or None when the pool is closed."""
        with self._changed:
            while not self._queue:
                if self._is_closed:
                    return None
                self._has_work.wait()
            return self._queue.popleft()

    def _failed(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._is_closed = True
            self._num_under_way -= 1 + len(self._queue)
            self._queue.clear()
            self._has_work.notify_all()
            self._changed.notify_all()
