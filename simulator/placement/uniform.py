"""As many experts of each layer, whichever they are."""

from simulator.cache import split_slots
from simulator.placement.protocol import Residents, Room
from simulator.placement.staging import num_staging, without
from simulator.view import View


class Uniform:
    """Pin the same number of experts of each bank, those with the lowest numbers, in all slots but `staging`.

    The first banks have one more where the division leaves a rest, whatever the scope of the cache.

    Source: KTransformers (SOSP 2025), strategy `uniform` of `--kt-expert-placement-strategy`
    (kvcache-ai/sglang, layers/moe/kt_ep_wrapper.py).
    """

    def __init__(self, view: View, *, staging: int = -1) -> None:
        self._num_experts = view.num_experts
        self._num_banks = view.num_keys // view.num_experts
        self._num_staging = num_staging(staging, view)

    def place(self, room: Room) -> Residents:
        """Pin the first experts of each bank."""
        shares = split_slots(without(self._num_staging, room).num_slots, self._num_banks)
        pinned = [
            bank * self._num_experts + expert
            for bank, share in enumerate(shares)
            for expert in range(min(share, self._num_experts))
        ]
        return Residents(pinned=pinned, shares_rest=True)
