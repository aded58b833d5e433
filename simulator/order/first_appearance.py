"""The order in which the gate has named them."""

from collections.abc import Sequence

from simulator.view import View


class FirstAppearance:
    """Keep the order of first appearance: tokens in batch order, each token's experts by falling gate weight."""

    def __init__(self, view: View) -> None:
        del view

    def arrange(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Leave them as they are."""
        del num_tokens
        return keys
