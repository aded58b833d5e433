"""Take the experts of a transformers model out of it: their weights into host memory, their computation to a visit.

Legend: N tokens of one forward pass, K top-k, H hidden width, E experts. key = bank * E + expert.

transformers sends every call of an experts module to a function that its config names. The one registered here finds
the module's `OffloadedModel`, and calls its `visit` with the layer's index; everything else of the model runs as ever.

Limits: inference only. A module that a model calls several times in one pass is one layer, visited several times.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from hardware_profiles.errors import InputError
from simulator.model.quantisation import Quantisation
from traces.capture.layers import MoELayer
from validation.runtime.experts import ExpertLayout, HostExperts, HostMemory, drop_weights
from validation.runtime.low_precision import LowExperts
from validation.runtime.output import weighted_sum
from validation.runtime.survey import Survey, survey

IMPLEMENTATION = "moesim_offload"
Visit = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer index, hidden_NH, ids_NK, weights_NK) -> [N, H]"""

_PLACE = "_moesim_place"


class OffloadDevice(HostMemory, Protocol):
    """What is asked of a device: host memory to copy from, and where the rest of the model goes."""

    @property
    def torch_device(self) -> torch.device:
        """Where the model computes."""
        ...


class OffloadedModel:
    """A model without the weights of its experts, and those weights in host memory.

    `visit` is what its MoE layers call, under `torch.no_grad`; a forward pass without one is refused. `host` has the
    weights by key. Leaving it as a context, or `restore`, makes the model whole again. The model refers to this object
    weakly: keep it for as long as the model is used.
    """

    def __init__(self, model: PreTrainedModel, found: Survey, host: HostExperts, torch_device: torch.device) -> None:
        """Take over a model whose experts are in `host` already. Raises InputError if its config cannot be set."""
        self.model = model
        self.layers: Sequence[MoELayer] = found.layers
        self.bank_of_layer = found.bank_of_layer
        self.host = host
        self.num_layers = len(found.layers)
        self.num_experts = found.num_experts
        self.top_k = found.top_k
        self.torch_device = torch_device
        self.visit: Visit | None = None
        self._low_copies: dict[str, LowExperts] = {}
        self._before: dict[str, str | None] = model.get_experts_implementation()
        select_implementation(model, self.layers)
        for index, layer in enumerate(self.layers):
            setattr(layer.experts, _PLACE, (weakref.ref(self), index))

    @property
    def layout(self) -> ExpertLayout:
        """What one expert is."""
        return self.host.layout

    @property
    def dtype(self) -> torch.dtype:
        """What the experts' weights are stored as."""
        return self.host.layout.dtype

    def expert_module(self, layer: int) -> nn.Module:
        """Return the experts module of a MoE layer: how to compute, without weights."""
        return self.layers[layer].experts

    def key(self, layer: int, expert: int) -> int:
        """Return the key of an expert."""
        return self.bank_of_layer[layer] * self.num_experts + expert

    def low_copies(self, quantisation: Quantisation, device: HostMemory) -> LowExperts:
        """Return low-precision copies of all experts in host memory; made once, and kept, for each format.

        Raises ValueError for a format that cannot be packed.
        """
        known = self._low_copies.get(quantisation.name)
        if known is None:
            known = self._low_copies[quantisation.name] = LowExperts(self.host, quantisation, device)
        return known

    def visit_from_host(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        """Compute a layer with each expert copied to the device as it is needed, and kept nowhere: a plain visit."""

        def tensors_of(expert: int) -> Mapping[str, Tensor]:
            flat = self.host.flat(self.key(layer, expert))
            return self.layout.views(flat.to(self.torch_device))

        return weighted_sum(self.expert_module(layer), tensors_of, hidden_NH, ids_NK, weights_NK)

    def restore(self) -> PreTrainedModel:
        """Put the weights back, bank by bank, on the device of the model, and return it. The host memory is freed."""
        for bank in range(self.host.num_banks):
            first: nn.Module | None = None
            for layer, its_bank in zip(self.layers, self.bank_of_layer, strict=True):
                if its_bank != bank:
                    continue
                if first is None:
                    first = layer.experts
                    self.host.give_back(bank, first, self.torch_device)
                for tensor in self.layout.tensors:
                    layer.experts.register_parameter(tensor.name, first.get_parameter(tensor.name))
                delattr(layer.experts, _PLACE)
            self.host.release(bank)
        self.model.set_experts_implementation(self._before)
        self._low_copies.clear()
        self.visit = None
        return self.model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()


def offload(model: PreTrainedModel, device: OffloadDevice) -> OffloadedModel:
    """Move the experts of a model into host memory, bank by bank, and the rest of it to the device.

    A layer's parameters are freed before the next is copied, so that the model and one layer more is all that is ever
    held. Raises InputError for a model that `survey` refuses.
    """
    found = survey(model)
    model.eval()
    host = HostExperts(found.layout, num_banks=found.num_banks, num_experts=found.num_experts, device=device)
    filled: set[int] = set()
    for bank, layer in zip(found.bank_of_layer, found.layers, strict=True):
        if bank not in filled:
            host.take(bank, layer.experts)
            filled.add(bank)
        drop_weights(layer.experts, found.layout)
    model.to(device.torch_device)
    return OffloadedModel(model, found, host, device.torch_device)


def select_implementation(model: PreTrainedModel, layers: Sequence[MoELayer]) -> None:
    """Make the experts modules of a model call their `OffloadedModel`. Raises InputError if that has no effect."""
    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, _visit_experts)
    model.set_experts_implementation(IMPLEMENTATION)
    for layer in layers:
        config = getattr(layer.experts, "config", None)
        if getattr(config, "_experts_implementation", None) != IMPLEMENTATION:
            raise InputError(
                type(model).__name__,
                f"{layer.name} ({type(layer.experts).__name__}) does not follow the model's experts implementation; "
                "build the experts with the model's own config",
            )


def _visit_experts(
    experts_module: nn.Module, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Stand in for the computation of an experts module; the names are those that transformers gives."""
    reference, layer = getattr(experts_module, _PLACE, (None, -1))
    offloaded = reference() if reference is not None else None
    if offloaded is None:
        raise RuntimeError(
            f"{type(experts_module).__name__} has no weights: its OffloadedModel is gone, or another model with the "
            "same config object was offloaded"
        )
    if offloaded.visit is None:
        raise RuntimeError("the experts are offloaded and nothing computes them; set OffloadedModel.visit")
    with torch.no_grad():
        return offloaded.visit(layer, hidden_states, top_k_index, top_k_weights)
