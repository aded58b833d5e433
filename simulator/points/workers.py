"""Work spread over processes: one that dies costs its own task alone, and that is tried once more by itself.

`concurrent.futures` would lose all running tasks with the first process that dies, and does not say which task it was.
"""

import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Generic, Self, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Finished = Callable[[int, Result], None]

_READY = None
_DYING_S = 5
_MOST_FAILED_STARTS = 10


@dataclass(slots=True, kw_only=True)
class _Worker:
    """A process; `index` is the task that it works on, None while it starts and while it has none."""

    process: BaseProcess
    is_ready: bool = False
    index: int | None = None


class Workers(Generic[Task, Result]):
    """Processes that are kept from one list of tasks to the next, to be left as a context. They start when they are needed.

    `work` is sent to each process once, so that it may keep what it opens; it should return what is wrong, not raise it.
    `lost` says what becomes of a task whose process died twice. With one job, work is done in this very process.
    """

    def __init__(self, work: Callable[[Task], Result], *, jobs: int, lost: Callable[[Task], Result]) -> None:
        self._work = work
        self._jobs = jobs
        self._lost = lost
        self._context = get_context("spawn")
        self._workers: dict[Connection, _Worker] = {}
        self._has_started = False
        self._failed_starts = 0

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes: those without a task by themselves, the others at once."""
        del kind, error, trace
        self._close()

    def run(self, tasks: Sequence[Task], done: Finished[Result] | None = None) -> list[Result]:
        """Return what the work makes of each task, in order.

        `done` is called with the index and result of each task as it ends. After an exception, Ctrl-C too, leave the
        context.
        """
        results: dict[int, Result] = {}

        def finished(index: int, result: Result) -> None:
            results[index] = result
            if done is not None:
                done(index, result)

        if self._jobs == 1 or (len(tasks) == 1 and not self._workers):
            for index, task in enumerate(tasks):
                finished(index, self._work(task))
        elif tasks:
            for index in self._over_processes(tasks, range(len(tasks)), finished):
                self._close()  # the others' memory is to be free for it
                if self._over_processes(tasks, [index], finished):
                    finished(index, self._lost(tasks[index]))
        return [results[index] for index in range(len(tasks))]

    def _over_processes(
        self, tasks: Sequence[Task], indexes: Sequence[int], finished: Finished[Result]
    ) -> Sequence[int]:
        """Work on the tasks of `indexes`, and return those whose process died."""
        waiting, died = deque(indexes), list[int]()

        def hand_out(connection: Connection) -> None:
            if not waiting:
                return
            worker = self._workers[connection]
            worker.index = waiting.popleft()
            with suppress(OSError):  # it has died meanwhile, and is found dead next
                connection.send(tasks[worker.index])

        for connection, worker in self._workers.items():
            if worker.is_ready:
                hand_out(connection)
        while waiting and len(self._workers) < min(self._jobs, len(indexes)):
            self._start()
        while busy := [at for at, worker in self._workers.items() if worker.index is not None or not worker.is_ready]:
            for ready in wait(busy):
                assert isinstance(ready, Connection)
                worker = self._workers[ready]
                try:
                    answer = ready.recv()
                except (EOFError, OSError):
                    self._bury(ready, died)
                    if waiting:
                        self._start()
                    continue
                if worker.index is not None:
                    finished(worker.index, answer)
                worker.index = None
                worker.is_ready = self._has_started = True
                hand_out(ready)
        return died

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = _Worker(process=process)

    def _bury(self, connection: Connection, died: list[int]) -> None:
        """Take a dead process from among the workers, and note its task, if it had one."""
        worker = self._workers.pop(connection)
        worker.process.join()
        connection.close()
        if worker.index is not None:
            died.append(worker.index)
        elif not worker.is_ready:
            self._failed_starts += 1
        if self._failed_starts > (_MOST_FAILED_STARTS if self._has_started else 0):
            raise RuntimeError(
                "a process could not start; a script that runs points needs `if __name__ == '__main__':`"
            )

    def _close(self) -> None:
        for connection, worker in self._workers.items():
            if worker.index is not None or not worker.is_ready:
                worker.process.terminate()
            connection.close()
        for worker in self._workers.values():
            worker.process.join(_DYING_S)
            if worker.process.is_alive():
                worker.process.terminate()
        self._workers.clear()


def spread(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    lost: Callable[[Task], Result],
    done: Finished[Result] | None = None,
) -> list[Result]:
    """Return what `work` makes of each task, in order, `jobs` at once: see `Workers`. Processes end with the last task."""
    with Workers(work, jobs=jobs, lost=lost) as workers:
        return workers.run(tasks, done)


def _serve(connection: Connection, work: Callable[[Task], Result]) -> None:
    """Work on one task after the other until the other end is closed, or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the other end decides
    try:
        connection.send(_READY)
        while True:
            connection.send(work(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
