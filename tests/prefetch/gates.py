"""A view whose gates ahead say what a test has written down."""

from collections.abc import Mapping, Sequence

from tests.hand_made import HandView


class Gates(HandView):
    """`HandView` with a bank per layer, at the layer `visit` of its steps, and `ahead` by distance: [n][K] keys."""

    def __init__(
        self, ahead: Mapping[int, Sequence[Sequence[int]]] | None = None, *, num_layers: int = 4, num_experts: int = 10
    ) -> None:
        super().__init__([[] for _ in range(100)], num_layers=num_layers, num_experts=num_experts, shared_bank=False)
        self.ahead: Mapping[int, Sequence[Sequence[int]]] = ahead or {}
        self.oracle.visit = 0

    def lookahead(self, distance: int) -> Sequence[Sequence[int]]:
        """Return what is written down; empty where nothing is."""
        return self.ahead.get(distance, ())
