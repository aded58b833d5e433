"""What token-level policies ask of a token's picks: which the GPU lacks, and how the gate mass is shared among them."""

from collections.abc import Sequence

from simulator.view import View


def is_missing(view: View, key: int) -> bool:
    """Tell whether an expert would be a miss: neither resident nor in flight."""
    return not view.is_resident(key) and not view.is_in_flight(key)


def missing_keys(view: View, picks: Sequence[Sequence[int]]) -> set[int]:
    """Return those of the step's picks that would be misses."""
    return {key for key in {key for token in picks for key in token} if is_missing(view, key)}


def mass_shares(weights: Sequence[float]) -> list[float]:
    """Return a token's gate weights as shares of their sum; equal shares where all are zero."""
    total = sum(weights)
    if total <= 0:
        return [1 / len(weights)] * len(weights)
    return [weight / total for weight in weights]
