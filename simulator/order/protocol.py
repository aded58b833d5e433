"""The contract of an order: which expert of a layer comes first."""

from collections.abc import Sequence
from typing import Protocol


class Order(Protocol):
    """Order the distinct experts S of a visit. Built as `Policy(view, **parameters)`.

    S is accessed, fetched and computed in this order: those that are resident first, the others as they arrive. An order
    with a true attribute `IN_TURN` has each expert computed strictly in its turn instead, so that a resident one waits
    for a missing one before it.
    """

    def arrange(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Return `keys`, each once, in the order wanted; `num_tokens` says how many tokens are routed to each."""
