"""Ways to handle a miss by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.miss.cpu import Cpu
from simulator.miss.fetch import Fetch
from simulator.miss.protocol import Miss, MissAction

MISS: dict[str, Callable[..., Miss]] = {"fetch": Fetch, "cpu": Cpu}

__all__ = ["MISS", "Miss", "MissAction"]
