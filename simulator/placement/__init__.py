"""Placements by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.placement.protocol import Placement, Residents, Room

PLACEMENT: dict[str, Callable[..., Placement]] = {}

__all__ = ["PLACEMENT", "Placement", "Residents", "Room"]
