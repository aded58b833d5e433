"""Queue disciplines by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.queue.keep import Keep
from simulator.queue.protocol import Queue
from simulator.queue.purge import PurgeAll, PurgePassed

QUEUE: dict[str, Callable[..., Queue]] = {"keep": Keep, "purge_passed": PurgePassed, "purge_all": PurgeAll}

__all__ = ["QUEUE", "Queue"]
