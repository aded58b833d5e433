"""Let the GPU read the weights in host memory."""

from collections.abc import Sequence

from simulator.miss.protocol import MissAction
from simulator.view import View


class InPlace:
    """Have the GPU read every missing expert's weights over the link as it computes; nothing takes a slot.

    Source: vLLM's `--cpu-offload-gb`, whose offloaded parameters lie in pinned host memory that the GPU addresses (UVA).
    """

    def __init__(self, view: View) -> None:
        del view

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Read them all where they lie."""
        del num_tokens
        return [MissAction.IN_PLACE] * len(keys)
