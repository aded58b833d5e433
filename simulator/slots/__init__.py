"""Splits of slots among banks by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.slots.adapmoe import AdapMoE
from simulator.slots.by_misses import ByMisses
from simulator.slots.equal import Equal
from simulator.slots.popularity import Popularity
from simulator.slots.protocol import Split

SLOTS: dict[str, Callable[..., Split]] = {
    "equal": Equal,
    "popularity": Popularity,
    "adapmoe": AdapMoE,
    "by_misses": ByMisses,
}

__all__ = ["SLOTS", "Split"]
