"""Ways to batch by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.batching.balanced import Balanced
from simulator.batching.micro_batches import MicroBatches
from simulator.batching.protocol import Batching
from simulator.batching.regroup import Regroup
from simulator.batching.together import Together

BATCHING: dict[str, Callable[..., Batching]] = {
    "together": Together,
    "micro_batches": MicroBatches,
    "balanced": Balanced,
    "regroup": Regroup,
}

__all__ = ["BATCHING", "Batching"]
