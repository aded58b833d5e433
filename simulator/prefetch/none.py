"""No prefetching."""

from collections.abc import Sequence

from simulator.view import View


class NoPrefetch:
    """Never prefetch: every expert that is absent is fetched on demand."""

    def __init__(self, view: View) -> None:
        del view

    def at_step_start(self) -> Sequence[int]:
        """Name nothing."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name nothing."""
        del keys
        return ()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing."""
        return ()
