"""Queue disciplines by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.queue.protocol import Queue

QUEUE: dict[str, Callable[..., Queue]] = {}

__all__ = ["QUEUE", "Queue"]
