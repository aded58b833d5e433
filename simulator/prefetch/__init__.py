"""Prefetch policies by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.prefetch.affinity import Affinity
from simulator.prefetch.edgemoe import EdgeMoE
from simulator.prefetch.gate_lookahead import GateLookahead
from simulator.prefetch.none import NoPrefetch
from simulator.prefetch.perfect import Perfect
from simulator.prefetch.popularity import Popularity
from simulator.prefetch.protocol import Prefetch
from simulator.prefetch.ridge import Ridge
from simulator.prefetch.stated import Stated
from simulator.prefetch.whole_path import WholePath

PREFETCH: dict[str, Callable[..., Prefetch]] = {
    "none": NoPrefetch,
    "gate_lookahead": GateLookahead,
    "popularity": Popularity,
    "affinity": Affinity,
    "edgemoe": EdgeMoE,
    "whole_path": WholePath,
    "ridge": Ridge,
    "stated": Stated,
    "perfect": Perfect,
}

__all__ = ["PREFETCH", "NoPrefetch", "Prefetch"]
