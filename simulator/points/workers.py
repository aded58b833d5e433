"""Work spread over processes: one that dies costs its own task alone, and that is tried once more by itself.

`concurrent.futures` would lose all running tasks with the first process that dies, and does not say which task it was.
"""

import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Finished = Callable[[int, Result], None]

_READY = None
_DYING_S = 5
_MOST_FAILED_STARTS = 10


def spread(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    lost: Callable[[Task], Result],
    done: Finished[Result] | None = None,
) -> list[Result]:
    """Return what `work` makes of each task, in order, `jobs` at once; with one job, in this very process.

    `work` is sent to each process once, so that it may keep what it opens; it should return what is wrong, not raise it.
    `done` is called with the index and result of each task as it ends. `lost` says what becomes of a task whose process
    died twice. An exception, Ctrl-C too, ends all processes at once.
    """
    results: dict[int, Result] = {}

    def finished(index: int, result: Result) -> None:
        results[index] = result
        if done is not None:
            done(index, result)

    if jobs == 1 or len(tasks) == 1:
        for index, task in enumerate(tasks):
            finished(index, work(task))
    elif tasks:
        for index in _over_processes(work, tasks, range(len(tasks)), jobs, finished):
            if _over_processes(work, tasks, [index], 1, finished):
                finished(index, lost(tasks[index]))
    return [results[index] for index in range(len(tasks))]


@dataclass(slots=True, kw_only=True)
class _Worker:
    """A process and its end of the wire; `index` is the task that it works on."""

    process: BaseProcess
    is_ready: bool = False
    index: int = -1


def _over_processes(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    indexes: Sequence[int],
    jobs: int,
    finished: Finished[Result],
) -> list[int]:
    """Work on the tasks of `indexes`, and return those whose process died."""
    waiting, died = deque(indexes), list[int]()
    has_started, failed_starts = False, 0
    workers: dict[Connection, _Worker] = {}

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        process.start()
        theirs.close()
        workers[ours] = _Worker(process=process)

    def hand_out(connection: Connection) -> None:
        worker = workers[connection]
        if not waiting:
            del workers[connection]
            connection.close()
            worker.process.join()
            return
        worker.index = waiting.popleft()
        try:
            connection.send(tasks[worker.index])
        except OSError:  # it has died meanwhile, and is found dead next
            return

    context = get_context("spawn")
    try:
        for _ in range(min(jobs, len(waiting))):
            start()
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    del workers[connection]
                    worker.process.join()
                    if worker.is_ready:
                        died.append(worker.index)
                    else:
                        failed_starts += 1
                    if failed_starts > (_MOST_FAILED_STARTS if has_started else 0):
                        raise RuntimeError(
                            "a process could not start; a script that runs points needs `if __name__ == '__main__':`"
                        ) from None
                    if waiting:
                        start()
                    continue
                if worker.is_ready:
                    finished(worker.index, answer)
                worker.is_ready = has_started = True
                hand_out(connection)
    finally:
        for worker in workers.values():
            worker.process.terminate()
        for connection, worker in workers.items():
            worker.process.join(_DYING_S)
            connection.close()
    return died


def _serve(connection: Connection, work: Callable[[Task], Result]) -> None:
    """Work on one task after the other until the other end is closed, or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the other end decides
    try:
        connection.send(_READY)
        while True:
            connection.send(work(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
