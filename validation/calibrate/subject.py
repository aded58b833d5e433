"""What is measured: a model on a device, and how far the grids go."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from validation.runtime.device import Device
from validation.runtime.offload import OffloadedModel

TOKENS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_SLOT_BYTES = 1 << 30  # on a device with memory of its own: more than its caches, less than any has


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
    def hidden_width(self) -> int:
        """Return H, the width of the states that experts are given."""
        return int(self.offloaded.model.config.get_text_config(decoder=True).hidden_size)


class ResidentExperts:
    """Experts where the device computes: all of them on the CPU, elsewhere as many as a gigabyte holds.

    A key that has no slot of its own shares one: the values are another expert's, the work is the same.
    """

    def __init__(self, subject: Subject) -> None:
        offloaded, device = subject.offloaded, subject.device
        self.num_keys = offloaded.host.num_banks * offloaded.num_experts
        self._host = offloaded.host
        self._slots: list[Mapping[str, Tensor]] = []
        if device.torch_device.type == "cpu":
            return
        num_slots = max(1, min(self.num_keys, _SLOT_BYTES // subject.expert_bytes))
        memory = device.device_tensor((num_slots, offloaded.layout.numel), offloaded.dtype)
        for slot, flat in enumerate(memory):
            flat.copy_(offloaded.host.flat(slot))
            self._slots.append(offloaded.layout.views(flat))

    def tensors(self, key: int) -> Mapping[str, Tensor]:
        """Return an expert's tensors, on the device."""
        return self._slots[key % len(self._slots)] if self._slots else self._host.tensors(key)


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
