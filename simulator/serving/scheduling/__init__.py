"""Scheduling policies by name."""

from collections.abc import Mapping
from typing import Protocol

from simulator.serving.scheduling.decode_first import DecodeFirst
from simulator.serving.scheduling.mixed import Mixed
from simulator.serving.scheduling.prefill_first import PrefillFirst
from simulator.serving.scheduling.protocol import Scheduling as Scheduling


class MakesScheduling(Protocol):
    """What makes a scheduling policy."""

    def __call__(self, *, max_step_tokens: int) -> Scheduling:
        """Make it for steps of at most so many tokens."""


SCHEDULING: Mapping[str, MakesScheduling] = {
    "prefill_first": PrefillFirst,
    "decode_first": DecodeFirst,
    "mixed": Mixed,
}
