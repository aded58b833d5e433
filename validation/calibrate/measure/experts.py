"""Expert time on the device, by tokens: some experts in a row, as a layer computes them.

The experts are drawn from all of the model in random order, each once before any comes again, so that none is in a cache
when it is computed, and other work has just run. Either alone, or while the link transfers. Alone, those of the model's
siblings are measured in turns with its own, and so are low-precision copies, of one format.

Limits: a model whose experts fit into the processor's cache is flattered, as a run of it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from validation.calibrate.measure.traffic import Traffic
from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.siblings import Sibling, with_experts
from validation.calibrate.subject import ResidentExperts, Subject, endless, random_states, tokens_up_to
from validation.calibrate.weights import LOW_FORMAT, low_layout
from validation.runtime.kernel import compute_expert
from validation.runtime.output import LayerOutput

IN_A_ROW = 4
_PACKED = 4
_COPIES_BYTES, _MOST_COPIES = 128 << 20, 1024
_SIBLING_TOKENS = (1, 2, 4, 8, 16, 32, 64, 256)


def measure_experts(subject: Subject, siblings: Sequence[Sibling]) -> list[Measurement]:
    """Return the measurements of expert time, alone and while the link transfers."""
    tokens = tokens_up_to(subject.max_tokens)
    of_siblings = [count for count in _SIBLING_TOKENS if count <= subject.max_tokens]
    few = [count for count in (1, 4, 16, 64, 256) if count <= subject.max_tokens]
    scales = [1.0, *(one.scale for one in siblings)]
    return [
        Measurement(
            name="expert.alone",
            title="Expert on the device, by tokens",
            grid=[
                *({"tokens": count, "scale": 1.0} for count in tokens),
                *({"tokens": count, "scale": one.scale} for one in siblings for count in of_siblings),
            ],
            set_up=lambda: _experts(ResidentExperts, subject, siblings),
            weight=7,
        ),
        Measurement(
            name="low_expert.alone",
            title=f"Low-precision copy ({LOW_FORMAT}) on the device, unpacked and computed, by tokens",
            grid=[{"tokens": count, "scale": scale} for scale in scales for count in of_siblings],
            set_up=lambda: _experts(_ResidentCopies, subject, siblings),
            weight=3,
        ),
        Measurement(
            name="expert.during_transfers",
            title="Expert on the device while the link transfers, by tokens",
            grid=[{"tokens": count, "scale": 1.0} for count in few],
            set_up=lambda: _experts(ResidentExperts, subject, (), with_traffic=True),
            weight=2,
        ),
    ]


class _Weights(Protocol):
    """Experts on the device: how many, and the tensors to compute one with."""

    num_keys: int

    def tensors(self, key: int) -> Mapping[str, Tensor]: ...


class _ResidentCopies:
    """Low-precision copies on the device, more than caches hold, all of a few experts."""

    def __init__(self, subject: Subject) -> None:
        offloaded, self._layout = subject.offloaded, low_layout(subject.offloaded.layout)
        device = subject.device.torch_device
        packed = []
        for key in range(min(_PACKED, offloaded.host.num_banks * offloaded.num_experts)):
            flat = torch.empty(self._layout.numel, dtype=torch.uint8)
            self._layout.pack(offloaded.host.tensors(key), flat)
            packed.append(flat)
        self.num_keys = max(IN_A_ROW, min(_MOST_COPIES, _COPIES_BYTES // self._layout.num_bytes))
        self._flat = [packed[key % len(packed)].clone().to(device) for key in range(self.num_keys)]

    def tensors(self, key: int) -> Mapping[str, Tensor]:
        """Unpack a copy, as a run does each time that it computes one."""
        return self._layout.dequantised(self._layout.views(self._flat[key]))


@contextmanager
def _experts(
    weights_of: Callable[[Subject], _Weights],
    subject: Subject,
    siblings: Sequence[Sibling],
    *,
    with_traffic: bool = False,
) -> Iterator[Measure]:
    rows = {scale: _InARow(one, weights_of(one)) for scale, one in with_experts(subject, siblings).items()}
    with Traffic(subject, is_on=with_traffic) as traffic, torch.inference_mode():

        def measure(at: At) -> Mapping[str, float]:
            row = rows[at["scale"]]
            row.prepare(int(at["tokens"]))
            with traffic.flowing():
                return {"time": row.time_s()}

        yield measure


class _InARow:
    """Experts of one model, some at a time, each on the same tokens."""

    def __init__(self, subject: Subject, experts: _Weights) -> None:
        self._device = subject.device
        self._experts = experts
        self._keys = endless(self._experts.num_keys, subject.seed)
        self._count = min(IN_A_ROW, subject.offloaded.num_experts)
        self._states_NH = random_states(max(subject.max_tokens, 256), subject)
        width = subject.hidden_width
        self._mix_HH = torch.randn((width, width), device=self._device.torch_device).to(self._states_NH.dtype)
        self._module = subject.offloaded.expert_module(0)

    def prepare(self, num_tokens: int) -> None:
        """Choose experts, and do other work before them."""
        self._chosen = list(islice(self._keys, self._count))
        hidden_NH = self._states_NH[:num_tokens] @ self._mix_HH
        ids = [list(range(self._count))] * num_tokens
        ids_NK = torch.tensor(ids, device=hidden_NH.device)
        weights_NK = torch.full((num_tokens, self._count), 1 / self._count, dtype=hidden_NH.dtype).to(ids_NK.device)
        self._output = LayerOutput(hidden_NH, ids_NK, weights_NK, host_ids_NK=ids)
        self._device.synchronize()

    def time_s(self) -> float:
        """Compute what was prepared, and return the time of one expert."""
        device = self._device
        start = device.mark()
        for rank in self._output.experts:
            tensors = self._experts.tensors(self._chosen[rank])
            self._output.add(rank, partial(compute_expert, self._module, tensors))
        end = device.mark()
        device.synchronize()
        return (device.time_ns(end) - device.time_ns(start)) / 1e9 / self._count
