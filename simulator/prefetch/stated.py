"""A predictor as good as it is said to be, as an oracle."""

import math
from collections import deque
from collections.abc import Sequence

from simulator.view import View


class Stated:
    """Prefetch for the next `lookahead_layers` visits with a stated `recall` and `precision`, the nearest first.

    Each expert that a visit will use is named with the probability `recall`; experts of its bank that it will not use are
    named besides, as many as make `precision` the share of right names in the long run. What is named for a visit is drawn
    once, so that asking again adds nothing, and shuffled: a predictor does not know where it errs. As `perfect` does, it
    sees past the end of a step.

    Limits: errors are independent of one another, of popularity and of how far ahead the visit is. Where a bank has too few
    other experts to be named wrongly (a large batch), precision is higher than stated.
    """

    def __init__(self, view: View, *, recall: float = 0.9, precision: float = 0.9, lookahead_layers: int = 1) -> None:
        if not 0 <= recall <= 1:
            raise ValueError(f"recall is {recall}; it should be a share from 0 to 1")
        if not 0 < precision <= 1:
            raise ValueError(f"precision is {precision}; it should be a share above 0 and up to 1")
        if lookahead_layers < 1:
            raise ValueError(f"lookahead_layers is {lookahead_layers}; it should be 1 or more")
        self._view = view
        self._oracle = view.oracle
        self._rng = view.random()
        self._recall = recall
        self._wrong_per_key = recall * (1 - precision) / precision
        self._ahead = lookahead_layers
        self._drawn: deque[tuple[int, list[int]]] = deque()  # (visit, names), of the visits ahead

    def at_step_start(self) -> Sequence[int]:
        """Name experts of the next visits."""
        return self._names()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name experts of the next visits, those that an eviction took back included."""
        del keys
        return self._names()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate has said it all."""
        return ()

    def _names(self) -> list[int]:
        drawn, visit = self._drawn, self._view.visit
        while drawn and drawn[0][0] <= visit:
            drawn.popleft()
        following = drawn[-1][0] + 1 if drawn else visit + 1
        for later in range(following, visit + self._ahead + 1):
            drawn.append((later, self._draw(later, self._oracle.upcoming(later - visit))))
        return list(dict.fromkeys(key for _, names in drawn for key in names))

    def _draw(self, visit: int, true: Sequence[int]) -> list[int]:
        """Draw the names for a visit that will use the keys `true`."""
        if not true:
            return []
        view, rng = self._view, self._rng
        first_key = view.first_key(visit % view.num_layers)
        used = set(true)
        names = [key for key in true if rng.random() < self._recall]
        wanted = self._wrong_per_key * len(true)
        num_wrong = math.floor(wanted) + (rng.random() < wanted - math.floor(wanted))
        others = [key for key in range(first_key, first_key + view.num_experts) if key not in used]
        names += rng.sample(others, min(num_wrong, len(others)))
        rng.shuffle(names)
        return names
