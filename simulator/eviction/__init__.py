"""Eviction policies by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.eviction.belady import Belady
from simulator.eviction.fifo import FIFO
from simulator.eviction.lfu import LFU, AgedLFU
from simulator.eviction.lru import LRU
from simulator.eviction.protocol import Eviction
from simulator.eviction.static import Static

EVICTION: dict[str, Callable[..., Eviction]] = {
    "lru": LRU,
    "lfu": LFU,
    "lfu_aged": AgedLFU,
    "fifo": FIFO,
    "static": Static,
    "belady": Belady,
}

__all__ = ["EVICTION", "Eviction"]
