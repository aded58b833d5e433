"""Expert time on the device, by tokens: some experts in a row, as a layer computes them.

The experts are drawn from all of the model in random order, each once before any comes again, so that none is in a cache
when it is computed, and other work has just run. Either alone, or while the link transfers. Alone, those of the model's
siblings are measured in turns with its own.

Limits: a model whose experts fit into the processor's cache is flattered, as a run of it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice

import torch

from validation.calibrate.measure.traffic import Traffic
from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.siblings import Sibling, subjects_by_scale
from validation.calibrate.subject import ResidentExperts, Subject, endless, random_states, tokens_up_to
from validation.runtime.kernel import compute_expert
from validation.runtime.output import LayerOutput

IN_A_ROW = 4


_SIBLING_TOKENS = (1, 2, 4, 8, 16, 32, 64, 256)


def measure_experts(subject: Subject, siblings: Sequence[Sibling]) -> list[Measurement]:
    """Return the measurements of expert time, alone and while the link transfers."""
    tokens = tokens_up_to(subject.max_tokens)
    of_siblings = [count for count in _SIBLING_TOKENS if count <= subject.max_tokens]
    few = [count for count in (1, 4, 16, 64, 256) if count <= subject.max_tokens]
    return [
        Measurement(
            name="expert.alone",
            title="Expert on the device, by tokens",
            grid=[
                *({"tokens": count, "scale": 1.0} for count in tokens),
                *({"tokens": count, "scale": one.scale} for one in siblings for count in of_siblings),
            ],
            set_up=lambda: _experts(subjects_by_scale(subject, siblings), with_traffic=False),
            weight=7,
        ),
        Measurement(
            name="expert.during_transfers",
            title="Expert on the device while the link transfers, by tokens",
            grid=[{"tokens": count, "scale": 1.0} for count in few],
            set_up=lambda: _experts({1.0: subject}, with_traffic=True),
            weight=2,
        ),
    ]


@contextmanager
def _experts(subjects: Mapping[float, Subject], *, with_traffic: bool) -> Iterator[Measure]:
    rows = {scale: _InARow(subject) for scale, subject in subjects.items()}
    with Traffic(subjects[1.0], is_on=with_traffic) as traffic, torch.inference_mode():

        def measure(at: At) -> Mapping[str, float]:
            row = rows[at["scale"]]
            row.prepare(int(at["tokens"]))
            with traffic.flowing():
                return {"time": row.time_s()}

        yield measure


class _InARow:
    """Experts of one model, some at a time, each on the same tokens."""

    def __init__(self, subject: Subject) -> None:
        self._device = subject.device
        self._experts = ResidentExperts(subject)
        self._keys = endless(self._experts.num_keys, subject.seed)
        self._count = min(IN_A_ROW, subject.offloaded.num_experts)
        self._states_NH = random_states(max(subject.max_tokens, 256), subject)
        width = subject.hidden_width
        self._mix_HH = torch.randn((width, width), device=self._device.torch_device).to(self._states_NH.dtype)
        self._module = subject.offloaded.expert_module(0)

    def prepare(self, num_tokens: int) -> None:
        """Choose experts, and do other work before them."""
        self._tensors = [self._experts.tensors(key) for key in islice(self._keys, self._count)]
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
            self._output.add(rank, partial(compute_expert, self._module, self._tensors[rank]))
        end = device.mark()
        device.synchronize()
        return (device.time_ns(end) - device.time_ns(start)) / 1e9 / self._count
