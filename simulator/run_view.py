"""The `simulator.view.View` of a run, simulated or real: what its executor keeps up to date and its policies read."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from simulator.cache import IN_FLIGHT, RESIDENT, ExpertCache
from simulator.oracle import RecordedFuture
from simulator.view import Oracle

Predict = Callable[[int], Sequence[Sequence[int]]]
"""(distance) -> per token of the step, the keys that the gate so many layers on would pick from the current state."""


class RunView:
    """A view made before the policies, which are built with it.

    `make_future` is called when a policy first asks for the oracle. `max_lookahead` is how many layers ahead gates can be
    applied, `no_lookahead` what to tell a policy that asks for more. The executor sets `cache`, and before each gate
    `visit` and, where a policy needs it, `predict`.
    """

    def __init__(
        self,
        *,
        num_layers: int,
        make_future: Callable[[], RecordedFuture],
        max_lookahead: int = 0,
        no_lookahead: str = "the trace has none: record it with `moesim capture --lookahead`",
    ) -> None:
        self.num_layers = num_layers
        self.visit = -1
        self.held_keys: set[int] = set()
        self.cache: ExpertCache | None = None
        self.future: RecordedFuture | None = None
        self.lookahead_layers = 0
        self.predict: Predict = _nothing
        self._make_future = make_future
        self._max_lookahead = max_lookahead
        self._no_lookahead = no_lookahead

    @property
    def held(self) -> AbstractSet[int]:
        """The keys that cannot be evicted now."""
        return self.held_keys

    @property
    def oracle(self) -> Oracle:
        """The routing to come."""
        if self.future is None:
            self.future = self._make_future()
        return self.future

    def is_resident(self, key: int) -> bool:
        """Tell whether the expert can be computed on the GPU now."""
        return self.cache is not None and self.cache.state[key] == RESIDENT

    def is_in_flight(self, key: int) -> bool:
        """Tell whether the expert has a slot and is queued or being transferred."""
        return self.cache is not None and self.cache.state[key] == IN_FLIGHT

    def require_lookahead(self, distance: int) -> None:
        """Have gates applied up to `distance` layers ahead. Raises ValueError if this run cannot."""
        if distance > self._max_lookahead:
            raise ValueError(
                f"needs the gates' picks {distance} layers ahead, and this run knows {self._max_lookahead}; "
                f"{self._no_lookahead}"
            )
        self.lookahead_layers = max(self.lookahead_layers, distance)

    def lookahead(self, distance: int) -> Sequence[Sequence[int]]:
        """Return per token the keys that the gate `distance` layers on would pick; empty past the last layer."""
        if self.visit < 0 or self.visit % self.num_layers + distance >= self.num_layers:
            return ()
        return self.predict(distance)


def _nothing(distance: int) -> Sequence[Sequence[int]]:
    del distance
    return ()
