"""Low-precision copies of experts: quantised in host memory, moved as they are, dequantised where they are computed.

The bytes are those that the simulator assumes of the format; what they hold is one simple scheme for all formats, in plain
torch: symmetric integers of 8, 4 or 2 bits, the most that the format has room for, with one fp16 scale for each group of a
row's weights, in groups as small as the format's other bits pay for. Tensors of one dimension (biases) stay as they are.

    q = round(w / scale) in [-m, m], m = 2^(bits - 1) - 1, scale = max |w| of the group / m, stored as q + 2^(bits - 1)

Limits: no format's own rounding, zero points or second level of scales; a format's bytes that this has no use for are moved
as zeros; where a format leaves out its scales (int8), or a model has biases, a copy is larger than the simulator assumes,
and `num_bytes` says so. Dequantising is a pass of its own over the weights, not part of the matrix product.

Legend: R rows, C columns, G groups of a row, P bytes of a row's packed values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor
from torch.nn import functional

from simulator.model.quantisation import Quantisation
from validation.runtime.experts import ExpertLayout, ExpertTensor, HostExperts, HostMemory

_WIDTHS = (8, 4, 2)
_SCALE = torch.float16
_SCALE_BITS = 16
_LEAST_GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Bits of an integer, and how many weights of a row share a scale; None for a whole row."""

    bits: int
    group: int | None

    @property
    def largest(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - 1)) - 1

    @property
    def per_byte(self) -> int:
        """Integers in a byte."""
        return 8 // self.bits


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A quantised tensor: values uint8 [R, P], scales fp16 [R, G]."""

    values: Tensor
    scales: Tensor


PackedExpert = Mapping[str, PackedTensor | Tensor]
"""An expert's tensors by name, those of one dimension as they are."""


def packing_of(quantisation: Quantisation) -> Packing:
    """Choose integers and groups that fit into a format. Raises ValueError for one below 2 bits, or of 16 or more."""
    bits = quantisation.bits_per_weight
    if not _WIDTHS[-1] <= bits < 16:
        raise ValueError(
            f"{quantisation.name} takes {float(bits):g} bit per weight; low-precision copies are packed in 2 to less than "
            "16: name a format such as int8, int4_g128 or hqq2_g16"
        )
    width = next(width for width in _WIDTHS if width <= bits)
    if bits == width:
        return Packing(bits=width, group=None)
    group = _LEAST_GROUP
    while width + _SCALE_BITS / group > bits:
        group *= 2
    return Packing(bits=width, group=group)


def quantise(weights_RC: Tensor, packing: Packing) -> PackedTensor:
    """Quantise a matrix."""
    rows, columns = weights_RC.shape
    group = packing.group or columns
    num_groups = ceil(columns / group)
    wide = weights_RC.to(torch.promote_types(weights_RC.dtype, torch.float32))
    grouped = functional.pad(wide, (0, num_groups * group - columns)).view(rows, num_groups, group)
    scales_RG = (grouped.abs().amax(dim=-1) / packing.largest).to(_SCALE)
    steps = torch.where(scales_RG > 0, scales_RG, 1).to(wide.dtype)
    whole = (grouped / steps.unsqueeze(-1)).round().clamp(-packing.largest, packing.largest)
    codes_RC = (whole.view(rows, -1)[:, :columns] + (1 << (packing.bits - 1))).to(torch.uint8)
    codes = functional.pad(codes_RC, (0, -columns % packing.per_byte)).view(rows, -1, packing.per_byte)
    values_RP = codes[..., 0].clone()
    for place in range(1, packing.per_byte):
        values_RP |= codes[..., place] << (place * packing.bits)
    return PackedTensor(values_RP, scales_RG)


def dequantise(packed: PackedTensor, packing: Packing, *, columns: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix [R, C] that a quantised one stands for."""
    codes = packed.values
    if packing.per_byte > 1:
        shifts = torch.arange(0, 8, packing.bits, dtype=torch.uint8, device=codes.device)
        mask = (1 << packing.bits) - 1
        codes = ((codes.unsqueeze(-1) >> shifts) & mask).flatten(1)[:, :columns]
    weights_RC = codes.to(dtype).sub_(1 << (packing.bits - 1))
    scales_RG = packed.scales.to(dtype)
    group = packing.group or columns
    if columns % group == 0:
        rows = weights_RC.shape[0]
        return weights_RC.view(rows, -1, group).mul_(scales_RG.unsqueeze(-1)).view(rows, columns)
    return weights_RC.mul_(scales_RG.repeat_interleave(group, dim=1)[:, :columns])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a tensor's parts lie, in bytes: values at `offset` (or the tensor itself), scales at `scales_offset`."""

    tensor: ExpertTensor
    offset: int
    scales_offset: int | None

    @property
    def columns(self) -> int:
        """C."""
        return self.tensor.shape[-1]

    @property
    def rows(self) -> int:
        """R."""
        return prod(self.tensor.shape[:-1])


class LowLayout:
    """Where the parts of one low-precision copy lie in a flat tensor of bytes.

    First what needs alignment: tensors that stay as they are, then scales, then values. `format_bytes` are those that the
    simulator assumes; `num_bytes` those that are moved, no fewer.
    """

    dtype = torch.uint8

    def __init__(self, layout: ExpertLayout, quantisation: Quantisation) -> None:
        """Raises ValueError for a format that cannot be packed."""
        self.packing = packing_of(quantisation)
        self._weights_dtype = layout.dtype
        plain = [one for one in layout.tensors if len(one.shape) < 2]
        matrices = [one for one in layout.tensors if len(one.shape) >= 2]
        at = 0
        places: dict[str, _Place] = {}
        for one in plain:
            places[one.name] = _Place(tensor=one, offset=at, scales_offset=None)
            at += one.numel * int(layout.dtype.itemsize)
        scales_offsets = []
        for one in matrices:
            scales_offsets.append(at)
            at += prod(one.shape[:-1]) * self._num_groups(one) * int(_SCALE.itemsize)
        for one, scales_offset in zip(matrices, scales_offsets, strict=True):
            places[one.name] = _Place(tensor=one, offset=at, scales_offset=scales_offset)
            at += prod(one.shape[:-1]) * ceil(one.shape[-1] / self.packing.per_byte)
        self._places = places
        self.format_bytes = ceil(layout.numel * quantisation.bits_per_weight / 8)
        self.num_bytes = self.numel = max(at, self.format_bytes)

    def views(self, flat: Tensor) -> PackedExpert:
        """Return a copy's tensors by name; they share the memory of `flat` [num_bytes], on any device."""
        assert flat.shape == (self.numel,), f"a copy has {self.numel} bytes, the tensor {tuple(flat.shape)}"
        return {name: self._view(flat, place) for name, place in self._places.items()}

    def dequantised(self, packed: PackedExpert) -> Mapping[str, Tensor]:
        """Return the expert's tensors as they are computed with, in the model's dtype."""
        result = {}
        for name, place in self._places.items():
            one = packed[name]
            if isinstance(one, Tensor):
                result[name] = one
            else:
                weights_RC = dequantise(one, self.packing, columns=place.columns, dtype=self._weights_dtype)
                result[name] = weights_RC.view(place.tensor.shape)
        return result

    def pack(self, tensors: Mapping[str, Tensor], flat: Tensor) -> None:
        """Quantise an expert's tensors into `flat`."""
        flat.zero_()
        for name, target in self.views(flat).items():
            source = tensors[name]
            if isinstance(target, Tensor):
                target.copy_(source)
            else:
                packed = quantise(source.reshape(-1, source.shape[-1]), self.packing)
                target.values.copy_(packed.values)
                target.scales.copy_(packed.scales)

    def _num_groups(self, tensor: ExpertTensor) -> int:
        columns = tensor.shape[-1]
        return ceil(columns / (self.packing.group or columns))

    def _view(self, flat: Tensor, place: _Place) -> PackedTensor | Tensor:
        tensor = place.tensor
        if place.scales_offset is None:
            return _bytes(flat, place.offset, tensor.shape, self._weights_dtype)
        width = ceil(place.columns / self.packing.per_byte)
        return PackedTensor(
            _bytes(flat, place.offset, (place.rows, width), torch.uint8),
            _bytes(flat, place.scales_offset, (place.rows, self._num_groups(tensor)), _SCALE),
        )


class LowExperts:
    """Low-precision copies of all experts of a model in host memory; that of a key is at the key plus the number of keys."""

    def __init__(self, host: HostExperts, quantisation: Quantisation, device: HostMemory) -> None:
        """Quantise all experts of the host. Raises ValueError for a format that cannot be packed."""
        self.layout = LowLayout(host.layout, quantisation)
        self._num_keys = host.num_banks * host.num_experts
        self._flat = []
        for key in range(self._num_keys):
            flat = device.host_tensor(self.layout.numel, torch.uint8)
            self.layout.pack(host.tensors(key), flat)
            self._flat.append(flat)

    def flat(self, key: int) -> Tensor:
        """Return the bytes of a copy by its own key."""
        return self._flat[key - self._num_keys]


def _bytes(flat: Tensor, offset: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    num_bytes = prod(shape) * int(dtype.itemsize)
    return flat[offset : offset + num_bytes].view(dtype).view(tuple(shape))
