"""The contract of miss handling."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

DROPPED = -1
"""Stands in a rerouted token for an expert that it does without."""


class MissAction(Enum):
    """What to do for one missing expert.

    FETCH it over the link. Have the CPU compute it, and wait for that at the end of the layer (CPU) or of the next layer
    (DEFER; in the last layer of a step, the same as CPU). Use its low-precision copy, from the slots for such copies or
    over the link (LOW). Let the GPU read its weights where they lie in host memory, over the link, with no slot (IN_PLACE).
    """

    FETCH = "fetch"
    CPU = "cpu"
    LOW = "low"
    DEFER = "defer"
    IN_PLACE = "in_place"


class Miss(Protocol):
    """Decide for the experts that a layer asks for and the GPU lacks. Built as `Policy(view, **parameters)`.

    It may have methods of `Reroutes`, `Shares`, `StartsEarly` and `simulator.eviction.protocol.ObservesGates` as well.
    """

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Return one action for each missing key, in order; `num_tokens` says how many tokens are routed to each."""


@runtime_checkable
class Reroutes(Protocol):
    """A lossy policy: tokens do without some of their experts, or take others instead.

    It is asked before the distinct experts S of the visit are formed, so what it takes away is neither accessed nor
    fetched. What this costs is counted from the gate weights: the mass dropped, and the mass substituted, which counts as
    lost as far as the pair is not alike.
    """

    def reroute(self) -> Sequence[Sequence[int]]:
        """Return `view.picks()` as they shall be, [n][K]: each entry the key itself, another of its layer, or DROPPED.

        A token names no key twice. A substitute is applied with the gate weight of the expert that it stands for.
        """

    def similarity(self, wanted: int, substitute: int) -> float:
        """Return how alike two experts are, 0 to 1; 1 means that a substitution loses nothing."""


@runtime_checkable
class Shares(Protocol):
    """A policy that leaves some of the resident experts to the CPU as well."""

    def share(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Name those of the resident `keys` of this visit that the CPU computes instead of the GPU.

        Called after `decide` (which is not called where nothing is missing).
        """


@runtime_checkable
class StartsEarly(Protocol):
    """A lossy policy that has the CPU begin with experts of the next layer, on the states that it has now."""

    def start_early(self) -> Mapping[int, int]:
        """Return keys of the next layer that the CPU starts on at this gate, in order, each with its number of tokens.

        Called after `decide` and `share`, so that the current layer's experts go first. Those that the next gate's `decide`
        then leaves to the CPU are under way or done; of the others the work was in vain.
        """
