"""Work spread over a Ray cluster: one actor for each of its cores, which keeps what it opens.

As on one machine, what dies costs its own task alone, and that is tried once more by itself.

Limits: machines that join the cluster later are not used; those that leave are not replaced while others remain.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from hardware_profiles.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Finished = Callable[[int, Result], None]


def spread_on_ray(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    address: str,
    lost: Callable[[Task], Result],
    done: Finished[Result],
) -> None:
    """Have a cluster work on tasks, and call `done` with the index and result of each as it ends.

    `work` is sent to each actor once; it should return what is wrong, not raise it. `lost` says what becomes of a task whose
    actor died twice. A connection that the caller has already is used, whatever the address. Raises InputError where Ray is
    not installed, or no cluster is there.
    """
    try:
        import ray
    except ImportError:
        raise InputError("--ray", "needs Ray; install it with: pip install 'moesim[ray]'") from None
    is_ours = not ray.is_initialized()
    try:
        if is_ours:
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError("--ray", f"no cluster at {address}: {reason}; start one with `ray start --head`") from None
    try:
        num_actors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        for index in _over_actors(work, tasks, range(len(tasks)), num_actors, done):
            if _over_actors(work, tasks, [index], 1, done):
                done(index, lost(tasks[index]))
    finally:
        if is_ours:
            ray.shutdown()


class Worker:
    """What lives in an actor: the work, with all that it has opened."""

    def __init__(self, work: Callable[..., object]) -> None:
        self._work = work

    def do(self, task: object) -> object:
        """Return what the work makes of a task."""
        return self._work(task)


def _over_actors(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    indexes: Sequence[int],
    num_actors: int,
    finished: Finished[Result],
) -> list[int]:
    """Work on the tasks of `indexes`, and return those whose actor died."""
    import ray

    make = ray.remote(num_cpus=1, max_restarts=0)(Worker)
    waiting, died = deque(indexes), list[int]()
    actors = [make.remote(work) for _ in range(min(num_actors, len(waiting)))]
    running = {}
    for actor in actors:
        index = waiting.popleft()
        running[actor.do.remote(tasks[index])] = (actor, index)
    while running:
        (ended,), _ = ray.wait(list(running), num_returns=1)
        actor, index = running.pop(ended)
        try:
            result = ray.get(ended)
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError):  # the process died, or its machine
            died.append(index)
            actor = make.remote(work) if waiting and not running else None
        else:
            finished(index, result)
        if actor is not None and waiting:
            following = waiting.popleft()
            running[actor.do.remote(tasks[following])] = (actor, following)
        elif actor is not None:
            ray.kill(actor)
    return died
