"""Prefetch policies by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.prefetch.gate_lookahead import GateLookahead
from simulator.prefetch.none import NoPrefetch
from simulator.prefetch.perfect import Perfect
from simulator.prefetch.protocol import Prefetch

PREFETCH: dict[str, Callable[..., Prefetch]] = {
    "none": NoPrefetch,
    "gate_lookahead": GateLookahead,
    "perfect": Perfect,
}

__all__ = ["PREFETCH", "NoPrefetch", "Prefetch"]
