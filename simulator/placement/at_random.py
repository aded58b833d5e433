"""Any experts, for good."""

from simulator.placement.protocol import Residents, Room
from simulator.placement.staging import num_staging, without
from simulator.view import View


class AtRandom:
    """Pin experts drawn from those of all banks, all alike likely, in all slots but `staging`. The scenario's seed counts.

    Source: KTransformers (SOSP 2025), strategy `random` of `--kt-expert-placement-strategy`
    (kvcache-ai/sglang, layers/moe/kt_ep_wrapper.py), with a seed of 42.
    """

    def __init__(self, view: View, *, staging: int = -1) -> None:
        self._num_keys = view.num_keys
        self._num_staging = num_staging(staging, view)
        self._random = view.random()

    def place(self, room: Room) -> Residents:
        """Pin what is drawn."""
        num_pinned = min(self._num_keys, without(self._num_staging, room).num_slots)
        return Residents(pinned=sorted(self._random.sample(range(self._num_keys), num_pinned)), shares_rest=True)
