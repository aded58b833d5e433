"""Compute on the CPU."""

from collections.abc import Sequence

from simulator.miss.protocol import MissAction
from simulator.view import View


class Cpu:
    """Have the CPU compute every missing expert where it lies; nothing is fetched, so only prefetches change the cache."""

    def __init__(self, view: View) -> None:
        del view

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Leave them all to the CPU."""
        del num_tokens
        return [MissAction.CPU] * len(keys)
