"""The experts of the first layers, for good."""

from simulator.placement.protocol import Residents, Room
from simulator.placement.staging import num_staging, without
from simulator.placement.whole_layers import keys_of_layers
from simulator.view import View


class FrontLoading:
    """Pin experts layer after layer from the first on, by number, in all slots but `staging`; the last layer in part.

    Source: KTransformers (SOSP 2025), strategy `front-loading` of `--kt-expert-placement-strategy`
    (kvcache-ai/sglang, layers/moe/kt_ep_wrapper.py).
    """

    def __init__(self, view: View, *, staging: int = -1) -> None:
        self._layers = keys_of_layers(view, range(view.num_layers))
        self._num_staging = num_staging(staging, view)

    def place(self, room: Room) -> Residents:
        """Pin from the front."""
        keys = [key for layer in self._layers for key in layer]
        return Residents(pinned=keys[: without(self._num_staging, room).num_slots], shares_rest=True)
