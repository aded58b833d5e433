"""What is measured: a model on a device, and how far the grids go."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from validation.runtime.device import Device
from validation.runtime.offload import OffloadedModel
from validation.runtime.slots import Slots

TOKENS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
SLOT_BYTES = 3 << 30
"""What the experts of passes may take on the device: as many of them as a run walks through, less than any device has."""
FEW_EXPERTS = 4
_RING_BYTES = 1 << 30  # more than caches hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model, its device, and the limits of what is measured.

    `threads` are those of the compute on the CPU device; `max_tokens` bounds the tokens of one expert and of a prefill,
    `max_batch` the sequences of a decode step, `max_context` what each attends to.
    """

    offloaded: OffloadedModel
    device: Device
    threads: int
    cpu_workers: int
    max_tokens: int = 256
    max_batch: int = 32
    max_context: int = 512
    seed: int = 0

    @property
    def expert_bytes(self) -> int:
        """Count the bytes of one expert's weights."""
        return self.offloaded.layout.num_bytes

    @property
    def num_at_once(self) -> int:
        """Count the experts of a layer that one pass is narrowed to: a few, and all that one token asks for."""
        return min(self.offloaded.num_experts, max(self.offloaded.top_k, FEW_EXPERTS))

    @property
    def hidden_width(self) -> int:
        """Return H, the width of the states that experts are given."""
        return int(self.offloaded.model.config.get_text_config(decoder=True).hidden_size)


class ResidentExperts:
    """Experts in slots of the device, as a run has them: as many as a gigabyte holds.

    A key that has no slot of its own shares one: the values are another expert's, the work is the same.
    """

    def __init__(self, subject: Subject) -> None:
        offloaded = subject.offloaded
        self.num_keys = max(
            1, min(offloaded.host.num_banks * offloaded.num_experts, _RING_BYTES // subject.expert_bytes)
        )
        slots = Slots(subject.device, offloaded.host, num_slots=self.num_keys)
        for key in range(self.num_keys):
            slots.take(key, None)
            slots.flat(key).copy_(offloaded.host.flat(key))
        self._slots = slots

    def tensors(self, key: int) -> Mapping[str, Tensor]:
        """Return the tensors of an expert, on the device."""
        return self._slots.tensors(key % self.num_keys)


def tokens_up_to(limit: int) -> list[int]:
    """Return the numbers of tokens that are measured, up to `limit`, which is one of them."""
    return sorted({*(tokens for tokens in TOKENS if tokens <= limit), limit})


def endless(items: int, seed: int) -> Iterator[int]:
    """Yield 0 .. items - 1 in random order, for ever: each once before any comes again."""
    draw = random.Random(seed)
    order = list(range(items))
    while True:
        draw.shuffle(order)
        yield from order


def random_states(rows: int, subject: Subject) -> Tensor:
    """Return states [rows, H] on the device, in the model's dtype."""
    generator = torch.Generator().manual_seed(subject.seed)
    states = torch.randn((rows, subject.hidden_width), generator=generator)
    return states.to(device=subject.device.torch_device, dtype=subject.offloaded.model.dtype)
