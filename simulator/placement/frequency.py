"""The most popular experts of all layers together, for good."""

from simulator.placement.pinned_popular import PinnedPopular
from simulator.placement.protocol import Residents, Room


class Frequency(PinnedPopular):
    """Pin the most popular experts of all banks together, whatever the scope of the cache, but for `staging` slots.

    Source: KTransformers (SOSP 2025), strategy `frequency` of `--kt-expert-placement-strategy`
    (kvcache-ai/sglang, layers/moe/kt_ep_wrapper.py), which reads activation counts recorded before.
    """

    def place(self, room: Room) -> Residents:
        """Pin by popularity among all."""
        return super().place(Room(num_slots=room.num_slots, of_bank=None))
