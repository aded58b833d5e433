"""Ways to handle a miss by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.miss.buddy import Buddy
from simulator.miss.cpu import Cpu
from simulator.miss.cpu_below import CpuBelow
from simulator.miss.cpu_by_tokens import CpuByTokens
from simulator.miss.daop import Daop
from simulator.miss.defer import Defer
from simulator.miss.drop import Drop
from simulator.miss.fetch import Fetch
from simulator.miss.in_place import InPlace
from simulator.miss.low_precision import LowPrecision
from simulator.miss.masked import Masked
from simulator.miss.protocol import Miss, MissAction
from simulator.miss.schedule import HybridSchedule
from simulator.miss.skip import Skip
from simulator.miss.substitute_low_score import SubstituteLowScore

MISS: dict[str, Callable[..., Miss]] = {
    "fetch": Fetch,
    "cpu": Cpu,
    "cpu_by_tokens": CpuByTokens,
    "cpu_below": CpuBelow,
    "schedule": HybridSchedule,
    "defer": Defer,
    "in_place": InPlace,
    "low_precision": LowPrecision,
    "drop": Drop,
    "skip": Skip,
    "buddy": Buddy,
    "substitute_low_score": SubstituteLowScore,
    "masked": Masked,
    "daop": Daop,
}

__all__ = ["MISS", "Miss", "MissAction"]
