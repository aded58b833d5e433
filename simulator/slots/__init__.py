"""Splits of slots among banks by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.slots.protocol import Split

SLOTS: dict[str, Callable[..., Split]] = {}

__all__ = ["SLOTS", "Split"]
