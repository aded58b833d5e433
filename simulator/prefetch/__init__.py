"""Prefetch policies by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.prefetch.activation_matrix import ActivationMatrix
from simulator.prefetch.activation_matrix_code import ActivationMatrixCode
from simulator.prefetch.adaptive_depth import AdaptiveDepth
from simulator.prefetch.adaptive_lookahead import AdaptiveLookahead
from simulator.prefetch.affinity import Affinity
from simulator.prefetch.edgemoe import EdgeMoE
from simulator.prefetch.expert_maps import ExpertMaps
from simulator.prefetch.gate_lookahead import GateLookahead
from simulator.prefetch.impact_simulated import ImpactSimulated
from simulator.prefetch.mrs_top import MRSTop
from simulator.prefetch.none import NoPrefetch
from simulator.prefetch.perfect import Perfect
from simulator.prefetch.popularity import Popularity
from simulator.prefetch.pre_gated import PreGated
from simulator.prefetch.promoe import ProMoE
from simulator.prefetch.protocol import Prefetch
from simulator.prefetch.ridge import Ridge
from simulator.prefetch.stated import Stated
from simulator.prefetch.stream_layers import StreamLayers
from simulator.prefetch.swapmoe import SwapMoE
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
    "adaptive_depth": AdaptiveDepth,
    "adaptive_lookahead": AdaptiveLookahead,
    "pre_gated": PreGated,
    "promoe": ProMoE,
    "activation_matrix": ActivationMatrix,
    "activation_matrix_code": ActivationMatrixCode,
    "expert_maps": ExpertMaps,
    "impact_simulated": ImpactSimulated,
    "mrs_top": MRSTop,
    "stream_layers": StreamLayers,
    "swapmoe": SwapMoE,
}

__all__ = ["PREFETCH", "NoPrefetch", "Prefetch"]
