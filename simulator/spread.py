"""Do pieces of work, several at once, each in a process of its own where more than one may run.

Results do not depend on how many run at once: each piece is by itself, and they are put back into their order.
"""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
Task = TypeVar("Task")
Result = TypeVar("Result")


class Spread(Generic[Name, Task, Result]):
    """Spread tasks, by name, over processes. `work` and the tasks have to be such that pickle takes them.

    `lost` says what becomes of a task whose process dies, once it has died again by itself.
    """

    def __init__(self, work: Callable[[Task], Result], *, lost: Callable[[Name], Result]) -> None:
        self._work, self._lost = work, lost

    def results(
        self, tasks: Sequence[tuple[Name, Task]], *, jobs: int, done: Callable[[Name], None] | None = None
    ) -> list[Result]:
        """Return what becomes of each task, in order; `done` is called with each name as it ends. Names differ."""
        results: dict[Name, Result] = {}

        def finished(name: Name, result: Result) -> None:
            if name in results:
                return
            results[name] = result
            if done is not None:
                done(name)

        if jobs == 1 or len(tasks) == 1:
            for name, task in tasks:
                finished(name, self._work(task))
        else:
            self._over_processes(tasks, jobs, finished)
            for name, task in tasks:  # whose process died, or that of another beside it: each once more, by itself
                if name not in results:
                    self._over_processes([(name, task)], 1, finished)
                if name not in results:
                    finished(name, self._lost(name))
        return [results[name] for name, _ in tasks]

    def _over_processes(
        self, tasks: Sequence[tuple[Name, Task]], jobs: int, finished: Callable[[Name, Result], None]
    ) -> None:
        with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn")) as pool:
            running: dict[Future[Result], Name] = {}
            try:
                for name, task in tasks:
                    running[pool.submit(self._work, task)] = name
                for future in as_completed(running):
                    finished(running[future], future.result())
            except BrokenProcessPool:
                for future, name in running.items():
                    if future.done() and not future.cancelled() and future.exception() is None:
                        finished(name, future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
