"""The contract of a prefetch policy."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Prefetch(Protocol):
    """Name experts to bring to the GPU before they are asked for. Built as `Policy(view, **parameters)`.

    Each method returns keys, the most urgent first. The executor skips those that are resident or in flight, takes a
    slot for each of the others (evicting an expert that is not held, or dropping the prefetch, counted, if there is
    none) and queues its transfer behind all demand fetches.

    With a true attribute `WHOLE_LAYERS` it is that of a runtime which knows no experts: a layer needs all of its bank,
    whatever its tokens use. The experts that no token uses are accessed, after the others, and waited for; no kernel runs
    for them.
    """

    def at_step_start(self) -> Sequence[int]:
        """Decide before the first layer of a step."""

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Decide when a layer's gate has chosen `keys` and their demand fetches are queued."""

    def at_layer_end(self) -> Sequence[int]:
        """Decide when a layer's last expert has been computed."""


@runtime_checkable
class Touches(Protocol):
    """A prefetch policy whose names are also touched in the eviction order where they are resident or in flight."""

    TOUCHES: bool
