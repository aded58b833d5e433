"""Expert time on the device, by tokens: some experts in a row, as a layer computes them.

The experts are drawn from all of the model in random order, each once before any comes again, so that none is in a cache
when it is computed, and other work has just run. Either alone, or while the link transfers.

Limits: a model whose experts fit into the processor's cache is flattered, as a run of it is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice

import torch

from validation.calibrate.measure.traffic import Traffic
from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.subject import ResidentExperts, Subject, endless, random_states, tokens_up_to
from validation.runtime.kernel import compute_expert
from validation.runtime.output import LayerOutput

IN_A_ROW = 4


def measure_experts(subject: Subject) -> list[Measurement]:
    """Return the measurements of expert time, alone and while the link transfers."""
    tokens = tokens_up_to(subject.max_tokens)
    few = [count for count in (1, 4, 16, 64, 256) if count <= subject.max_tokens]
    return [
        Measurement(
            name="expert.alone",
            title="Expert on the device, by tokens",
            grid=[{"tokens": count} for count in tokens],
            set_up=lambda: _experts(subject, with_traffic=False),
            weight=5,
        ),
        Measurement(
            name="expert.during_transfers",
            title="Expert on the device while the link transfers, by tokens",
            grid=[{"tokens": count} for count in few],
            set_up=lambda: _experts(subject, with_traffic=True),
            weight=2,
        ),
    ]


@contextmanager
def _experts(subject: Subject, *, with_traffic: bool) -> Iterator[Measure]:
    offloaded, device = subject.offloaded, subject.device
    experts = ResidentExperts(subject)
    keys = endless(experts.num_keys, subject.seed)
    in_a_row = min(IN_A_ROW, offloaded.num_experts)
    states_NH = random_states(max(subject.max_tokens, 256), subject)
    mix_HH = torch.randn((subject.hidden_width, subject.hidden_width), device=device.torch_device).to(states_NH.dtype)
    module = offloaded.expert_module(0)

    with Traffic(subject, is_on=with_traffic) as traffic, torch.inference_mode():

        def measure(at: At) -> Mapping[str, float]:
            num_tokens = int(at["tokens"])
            tensors = [experts.tensors(key) for key in islice(keys, in_a_row)]
            hidden_NH = states_NH[:num_tokens] @ mix_HH
            ids = [list(range(in_a_row))] * num_tokens
            ids_NK = torch.tensor(ids, device=device.torch_device)
            weights_NK = torch.full((num_tokens, in_a_row), 1 / in_a_row, dtype=hidden_NH.dtype).to(ids_NK.device)
            output = LayerOutput(hidden_NH, ids_NK, weights_NK, host_ids_NK=ids)
            device.synchronize()
            with traffic.flowing():
                start = device.mark()
                for rank in output.experts:
                    output.add(rank, partial(compute_expert, module, tensors[rank]))
                end = device.mark()
                device.synchronize()
            return {"time": (device.time_ns(end) - device.time_ns(start)) / 1e9 / in_a_row}

        yield measure
