"""How good gate lookahead is, as published."""

from collections.abc import Sequence

PUBLISHED = "interim"


def published_recall(num_layers: int, max_distance: int) -> Sequence[Sequence[float]]:
    """Return [L][D]."""
    return [[0.9] * max_distance] * num_layers
