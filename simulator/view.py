"""What a policy sees of a run: a read-only look at the cache and, for oracles, at the routing to come.

An expert is named by its key, `bank * num_experts + expert`. A visit is one pass through one routing round: visit
`step * num_layers + layer`, counted over the whole run. Both the simulator and a real runtime implement `View`, so a
policy needs no clock, no SimPy and no torch.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol


class Oracle(Protocol):
    """The routing to come, which no real system knows."""

    def next_visit(self, key: int) -> int:
        """Return the first visit after the current one that uses `key`; `NEVER` if none does."""

    def upcoming(self, visits_ahead: int) -> Sequence[int]:
        """Return the keys that the visit `visits_ahead` after the current one will use; empty past the end."""


class View(Protocol):
    """The state of a run at the moment when a policy decides."""

    @property
    def num_layers(self) -> int:
        """Routing rounds per step."""

    @property
    def visit(self) -> int:
        """The current visit; -1 before the first gate."""

    @property
    def held(self) -> AbstractSet[int]:
        """The keys that cannot be evicted now: pinned until computed, or in flight."""

    @property
    def oracle(self) -> Oracle:
        """The routing to come. A policy that asks for it is an oracle, and the result of the run says so."""

    def is_resident(self, key: int) -> bool:
        """Tell whether the expert can be computed on the GPU now."""

    def is_in_flight(self, key: int) -> bool:
        """Tell whether the expert has a slot and is queued or being transferred."""

    def require_lookahead(self, distance: int) -> None:
        """Say, as the policy is built, that it will call `lookahead` up to `distance`. Raises ValueError if nobody can."""

    def lookahead(self, distance: int) -> Sequence[Sequence[int]]:
        """Return what the gate `distance` layers on would pick from the state that enters the current layer.

        One entry per token of the step, each with keys by rank, [n][K]; empty past the step's last layer.
        """


NEVER = 1 << 62
"""The visit of an expert that is not used again."""
