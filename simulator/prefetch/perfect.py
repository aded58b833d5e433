"""A perfect predictor, as an oracle."""

from collections.abc import Sequence

from simulator.view import View


class Perfect:
    """Prefetch exactly what the next `lookahead_layers` layer visits will use, the nearest first.

    The oracle sees past the end of a step into the next one. It bounds what prediction alone can reach; what is lost
    beyond that is bandwidth, cache space or the eviction policy's doing.
    """

    def __init__(self, view: View, *, lookahead_layers: int = 1) -> None:
        if lookahead_layers < 1:
            raise ValueError(f"lookahead_layers is {lookahead_layers}; it should be 1 or more")
        self._oracle = view.oracle
        self._ahead = range(1, lookahead_layers + 1)

    def at_step_start(self) -> Sequence[int]:
        """Name the experts of the next visits; before the first gate nothing else has."""
        return self._next_visits()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name the experts of the next visits, those that an eviction took back included."""
        del keys
        return self._next_visits()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate has said it all."""
        return ()

    def _next_visits(self) -> list[int]:
        return [key for ahead in self._ahead for key in self._oracle.upcoming(ahead)]
