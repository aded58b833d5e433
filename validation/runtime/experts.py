"""The weights of routed experts in host memory: one flat tensor per expert, so that moving one is one copy.

Legend: E experts of a layer. key = bank * E + expert, as in `simulator.view`; layers that share weights share a bank.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from hardware_profiles.errors import InputError

_FORMATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class HostMemory(Protocol):
    """What is asked of a device here: memory on the host that it can copy from."""

    def host_tensor(self, numel: int, dtype: torch.dtype) -> Tensor:
        """Return a flat tensor in host memory."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTensor:
    """One tensor of an expert: its name in the experts module, its shape without E, its place in elements."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def numel(self) -> int:
        """Count the elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLayout:
    """Where the tensors of one expert lie in a flat tensor: the largest first, without gaps."""

    tensors: tuple[ExpertTensor, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Count the elements of an expert."""
        return sum(tensor.numel for tensor in self.tensors)

    @property
    def num_bytes(self) -> int:
        """Count the bytes of an expert."""
        return self.numel * int(self.dtype.itemsize)

    def views(self, flat: Tensor) -> Mapping[str, Tensor]:
        """Return an expert's tensors by name; they share the memory of `flat` [numel], on any device."""
        assert flat.shape == (self.numel,), f"an expert has {self.numel} elements, the tensor {tuple(flat.shape)}"
        return {one.name: flat.narrow(0, one.offset, one.numel).view(one.shape) for one in self.tensors}


def layout_of(experts_module: nn.Module) -> ExpertLayout:
    """Lay out one expert of a module: each of its own parameters whose first dimension is E.

    Raises InputError, naming the class, where a projection is missing or not one per expert, where the parameters
    differ in dtype, or where they are quantised.
    """
    kind = type(experts_module).__name__
    num_experts = int(getattr(experts_module, "num_experts", 0))
    has_gate, has_bias = (bool(getattr(experts_module, name, False)) for name in ("has_gate", "has_bias"))
    first = "gate_up_proj" if has_gate else "up_proj"
    needed = [first, "down_proj", *([f"{first}_bias", "down_proj_bias"] if has_bias else [])]
    own = dict(experts_module.named_parameters(recurse=False, remove_duplicate=False))
    for name in needed:
        if name not in own or own[name].dim() < 1 or own[name].shape[0] != num_experts:
            found = f"has the shape {tuple(own[name].shape)}" if name in own else "is missing"
            raise InputError(
                kind,
                f"{name} {found}; for {num_experts} experts its first dimension should be {num_experts}. Experts are "
                "moved one by one, so use a model that holds the same tensors for each of them",
            )
    per_expert = {name: one for name, one in own.items() if one.dim() >= 1 and one.shape[0] == num_experts}
    dtypes = {one.dtype for one in per_expert.values()}
    if len(dtypes) > 1 or not dtypes <= set(_FORMATS):
        raise InputError(
            kind,
            f"its parameters are {', '.join(sorted(map(str, dtypes)))}; load the model, not quantised, in one of "
            f"{', '.join(map(str, _FORMATS))}",
        )
    by_size = sorted(per_expert.items(), key=lambda item: -item[1].numel())
    tensors, offset = [], 0
    for name, parameter in by_size:
        tensors.append(ExpertTensor(name=name, shape=tuple(parameter.shape[1:]), offset=offset))
        offset += tensors[-1].numel
    return ExpertLayout(tensors=tuple(tensors), dtype=dtypes.pop())


class HostExperts:
    """All experts of a model in host memory, one flat tensor per key; a bank has memory from `allocate` on."""

    def __init__(self, layout: ExpertLayout, *, num_banks: int, num_experts: int, device: HostMemory) -> None:
        self.layout = layout
        self.num_banks = num_banks
        self.num_experts = num_experts
        self._device = device
        self._flat: list[Tensor | None] = [None] * (num_banks * num_experts)
        self._tensors: list[Mapping[str, Tensor]] = [{}] * (num_banks * num_experts)

    def flat(self, key: int) -> Tensor:
        """Return an expert's flat tensor [numel]."""
        flat = self._flat[key]
        assert flat is not None, f"the experts of bank {key // self.num_experts} are not in host memory"
        return flat

    def tensors(self, key: int) -> Mapping[str, Tensor]:
        """Return an expert's tensors by name: views of its flat tensor."""
        tensors = self._tensors[key]
        assert tensors, f"the experts of bank {key // self.num_experts} are not in host memory"
        return tensors

    def num_bytes(self) -> int:
        """Count the bytes of all experts that are held."""
        return self.layout.num_bytes * len({id(flat) for flat in self._flat if flat is not None})

    def allocate(self, bank: int) -> None:
        """Make room for the experts of a bank; what they hold is undefined."""
        for key in range(bank * self.num_experts, (bank + 1) * self.num_experts):
            flat = self._device.host_tensor(self.layout.numel, self.layout.dtype)
            self._flat[key], self._tensors[key] = flat, self.layout.views(flat)

    def share(self, bank: int, other: int) -> None:
        """Let the experts of a bank be those of another, which has memory."""
        for expert in range(self.num_experts):
            key, source = bank * self.num_experts + expert, other * self.num_experts + expert
            self._flat[key], self._tensors[key] = self.flat(source), self.tensors(source)

    def release(self, bank: int) -> None:
        """Forget the experts of a bank; their memory is free once no view of it is left."""
        for key in range(bank * self.num_experts, (bank + 1) * self.num_experts):
            self._flat[key] = None
            self._tensors[key] = {}

    def take(self, bank: int, experts_module: nn.Module) -> None:
        """Copy the weights of a module into a bank."""
        self.allocate(bank)
        for tensor in self.layout.tensors:
            source = experts_module.get_parameter(tensor.name).detach()
            for expert in range(self.num_experts):
                self._tensors[bank * self.num_experts + expert][tensor.name].copy_(source[expert])

    def give_back(self, bank: int, experts_module: nn.Module, device: torch.device) -> None:
        """Copy the weights of a bank into new parameters of a module, on `device`."""
        for tensor in self.layout.tensors:
            shape = (self.num_experts, *tensor.shape)
            weights = torch.empty(shape, dtype=self.layout.dtype, device=device)
            for expert in range(self.num_experts):
                weights[expert].copy_(self._tensors[bank * self.num_experts + expert][tensor.name])
            experts_module.register_parameter(tensor.name, nn.Parameter(weights, requires_grad=False))


def drop_weights(experts_module: nn.Module, layout: ExpertLayout) -> None:
    """Replace the parameters of a module that are per expert by empty ones."""
    for tensor in layout.tensors:
        empty = nn.Parameter(torch.empty(0, dtype=layout.dtype), requires_grad=False)
        experts_module.register_parameter(tensor.name, empty)
