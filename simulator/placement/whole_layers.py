"""Whole layers on the GPU, the others in host memory: what systems do that know nothing of experts."""

from collections.abc import Iterable, Sequence

from simulator.placement.protocol import Residents, Room
from simulator.placement.staging import num_staging, without
from simulator.view import View


class Front:
    """Pin all experts of the first layers, as many whole layers as fit beside `staging` slots (-1: top-k).

    The scope of the cache makes no difference; slots that do not hold a whole layer stay for fetches.

    Source: Hugging Face accelerate, `device_map="auto"`: modules go to the GPU in their order until one does not fit
    (documentation, "Big model inference").

    Limits: only the experts of a layer are placed; its other weights are on the GPU in either case.
    """

    def __init__(self, view: View, *, staging: int = -1) -> None:
        self._layers = keys_of_layers(view, self._order(view.num_layers))
        self._num_staging = num_staging(staging, view)

    def place(self, room: Room) -> Residents:
        """Pin whole layers."""
        num_fitting = without(self._num_staging, room).num_slots // len(self._layers[0])
        return Residents(pinned=[key for layer in self._layers[:num_fitting] for key in layer], shares_rest=True)

    def _order(self, num_layers: int) -> Sequence[int]:
        return range(num_layers)


class Back(Front):
    """Pin all experts of the last layers, as many whole layers as fit beside `staging` slots (-1: top-k).

    Source: llama.cpp, `--n-cpu-moe N` keeps the experts of the first N layers in host memory; vLLM, `--cpu-offload-gb`
    offloads parameters in the order in which they are made until the budget is used (documentation of both).

    Limits: as for `Front`. vLLM counts single parameters, so that one layer may be offloaded in part.
    """

    def _order(self, num_layers: int) -> Sequence[int]:
        return range(num_layers)[::-1]


def keys_of_layers(view: View, layers: Iterable[int]) -> list[range]:
    """Return the keys of the banks that some layers draw from, in the order of the layers, each bank once."""
    first_keys = dict.fromkeys(view.first_key(layer) for layer in layers)
    return [range(first_key, first_key + view.num_experts) for first_key in first_keys]
