"""Ways to batch by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.batching.protocol import Batching

BATCHING: dict[str, Callable[..., Batching]] = {}

__all__ = ["BATCHING", "Batching"]
