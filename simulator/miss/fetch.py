"""Fetch on demand."""

from collections.abc import Sequence

from simulator.miss.protocol import MissAction
from simulator.view import View


class Fetch:
    """Fetch every missing expert over the link; the GPU waits for it."""

    def __init__(self, view: View) -> None:
        del view

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Fetch them all."""
        del num_tokens
        return [MissAction.FETCH] * len(keys)
