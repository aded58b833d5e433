"""Eviction policies by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.eviction.activation_aware import ActivationAware
from simulator.eviction.arc import ARC
from simulator.eviction.belady import Belady
from simulator.eviction.belady_bypass import BeladyBypass
from simulator.eviction.clock import Clock
from simulator.eviction.edgemoe import EdgeMoE
from simulator.eviction.fifo import FIFO
from simulator.eviction.finemoe import FineMoE
from simulator.eviction.hobbit import Hobbit
from simulator.eviction.least_stale import LeastStale
from simulator.eviction.lfru import LFRU
from simulator.eviction.lfu import LFU, AgedLFU
from simulator.eviction.lru import LRU
from simulator.eviction.lru_two_tier import LRUTwoTier
from simulator.eviction.mark0 import Mark0
from simulator.eviction.mark_and_predict import MarkAndPredict
from simulator.eviction.moe_infinity_code import MoEInfinityCode
from simulator.eviction.mrs import MinusRecentScore
from simulator.eviction.predicted_unused_first import PredictedUnusedFirst
from simulator.eviction.protocol import Eviction
from simulator.eviction.release import Release
from simulator.eviction.s3fifo import S3FIFO
from simulator.eviction.sieve import Sieve

EVICTION: dict[str, Callable[..., Eviction]] = {
    "lru": LRU,
    "lfu": LFU,
    "lfu_aged": AgedLFU,
    "fifo": FIFO,
    "belady": Belady,
    "belady_bypass": BeladyBypass,
    "clock": Clock,
    "sieve": Sieve,
    "s3fifo": S3FIFO,
    "arc": ARC,
    "lfru": LFRU,
    "least_stale": LeastStale,
    "lru_two_tier": LRUTwoTier,
    "predicted_unused_first": PredictedUnusedFirst,
    "mrs": MinusRecentScore,
    "activation_aware": ActivationAware,
    "moe_infinity_code": MoEInfinityCode,
    "hobbit": Hobbit,
    "finemoe": FineMoE,
    "edgemoe": EdgeMoE,
    "mark0": Mark0,
    "mark_and_predict": MarkAndPredict,
    "release": Release,
}

__all__ = ["EVICTION", "Eviction"]
