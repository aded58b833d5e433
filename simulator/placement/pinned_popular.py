"""The most popular experts, for good."""

from simulator.placement.most_popular import most_popular
from simulator.placement.protocol import Residents, Room
from simulator.placement.staging import num_staging, without
from simulator.view import View


class PinnedPopular:
    """Pin the most popular experts in all slots but `staging` (-1: top-k, one token's working set), which all banks share.

    Where each bank has slots of its own it pins so many of its experts, the staging slots taken from all of them evenly;
    where all compete, the most popular of all are pinned.

    Source: K. Kamahori et al.: "Fiddler: CPU-GPU orchestration for fast inference of mixture-of-experts models",
    arXiv 2402.07033, places experts by popularity in a profile, all layers together (a cache of global
    scope), and fetches into no slot of theirs (`staging` 0, with misses that the CPU computes). Of each layer alike is what
    "DAOP", arXiv 2501.10375, starts from, and `frequency-uniform` of the KTransformers back end of SGLang.
    """

    def __init__(self, view: View, *, staging: int = -1) -> None:
        self._view = view
        self._num_staging = num_staging(staging, view)

    def place(self, room: Room) -> Residents:
        """Pin by popularity."""
        return Residents(
            pinned=most_popular(self._view.popularity(), without(self._num_staging, room)), shares_rest=True
        )
