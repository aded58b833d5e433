"""Evaluate an offloaded model under a scenario's policies, one token of a segment at a time.

Every token is a decode step of its own at batch 1: what is missing depends on the tokens before it. Each segment is a
run of its own, with its own cache, which holds at first what the scenario's placement puts there, and with policies of
its own. Several segments go through the model side by side (`side_by_side`), which changes nothing but the time it
takes: at every MoE layer each segment's row goes to its own `validation.runtime.executor.Executor`. The model's own
gates pick, so what a policy loses in one layer shifts what later layers and tokens ask for.

Limits: no prefill, and no two sequences in a step; copies and the CPU take no time, so prefetches are always in time.

Legend: S segments, n tokens of each, B of them side by side, H hidden width, K top-k.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from hardware_profiles.errors import InputError
from simulator.dispatch import Dispatch
from simulator.inputs import resolve_inputs
from simulator.losses import WHOLE_MASS
from simulator.metrics.counters import Counters
from simulator.model.quantisation import parse_quantisation
from simulator.prepare import prepare
from simulator.scenario import Scenario
from validation.quality.at_once import LinkAtOnce, WorkersAtOnce
from validation.quality.reference import token_losses
from validation.runtime.device import Device
from validation.runtime.executor import READ_IN_PLACE, Executor
from validation.runtime.offload import OffloadedModel
from validation.runtime.recording import Recording
from validation.runtime.slots import Low, SlotChannel, Slots, num_low_slots

_SOURCE = "quality"
KINDS = {
    "dropped": "dropped_mass",
    "substituted": "substituted_mass",
    "unlike": "unlike_mass",
    "dropped_strongest": "dropped_strongest_mass",
    "substituted_strongest": "substituted_strongest_mass",
    "unlike_strongest": "unlike_strongest_mass",
    "low_precision": "low_mass",
    "deferred": "deferred_mass",
}
"""Kinds of mass, and their counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Losses in nats [S, n]; shares of the gate mass by kind [S]; the share of (token, layer) pairs routed otherwise."""

    losses: NDArray[np.float64]
    masses: Mapping[str, NDArray[np.float64]]
    rerouted_frac: float
    hit_frac: float


def evaluate(
    scenarios: Sequence[Scenario],
    offloaded: OffloadedModel,
    device: Device,
    segments: Sequence[Sequence[int]],
    *,
    side_by_side: int,
    progress: Callable[[int], None] = lambda _segments: None,
) -> Evaluated:
    """Run all segments, equally long; each has a scenario, whose trace is the unoffloaded model's routing of its tokens.

    Raises InputError for what does not fit together.
    """
    losses, counted, num_other = [], [], 0
    for start in range(0, len(segments), side_by_side):
        rows = segments[start : start + side_by_side]
        runs = [_Run(scenario, offloaded, device) for scenario in scenarios[start : start + side_by_side]]
        losses.append(_losses(runs, offloaded, device, rows))
        counted += [run.executor.snapshot() for run in runs]
        num_other += sum(run.executor.num_other_picks for run in runs)
        progress(start + len(rows))
    masses = [mass_fracs(one) for one in counted]
    return Evaluated(
        losses=np.concatenate(losses),
        masses={kind: np.array([one[kind] for one in masses]) for kind in KINDS},
        rerouted_frac=num_other / sum(one.routed_tokens * one.num_layers for one in counted),
        hit_frac=sum(sum(one.hits) for one in counted) / max(1, sum(sum(one.accesses) for one in counted)),
    )


class _Run:
    """One segment's steps, and what carries them out."""

    def __init__(self, scenario: Scenario, offloaded: OffloadedModel, device: Device) -> None:
        inputs = resolve_inputs(scenario, _SOURCE)
        ready = prepare(scenario, inputs, _SOURCE, max_lookahead=inputs.trace.num_layers - 1)
        view, cache = ready.view, ready.cache
        if getattr(ready.policies.miss, "READS_IN_PLACE", False):
            raise InputError(_SOURCE, f"miss: {inputs.policies['miss'].name}: {READ_IN_PLACE}")
        view.require_gate_weights()
        num_low = num_low_slots(cache, num_keys=view.num_keys, num_experts=view.num_experts)
        low = None
        if scenario.low_precision is not None:
            try:
                copies = offloaded.low_copies(parse_quantisation(scenario.low_precision.format), device)
            except ValueError as error:
                raise InputError(_SOURCE, f"low_precision.format: {error}") from None
            low = Low.on(device, copies, num_slots=num_low + cache.num_staging)
        slots = Slots(device, offloaded.host, num_slots=cache.num_slots - num_low)
        recording = Recording(device, keep_spans=False)
        link = LinkAtOnce(device)
        channel = SlotChannel(cache=cache, slots=slots, host=offloaded.host, link=link, low=low)
        channel.fill()
        self.executor = Executor(
            offloaded,
            device,
            dispatch=Dispatch(
                view=view,
                cache=cache,
                channel=channel,
                policies=ready.policies,
                timeline=None,
                now_ns=recording.now_ns,
                released=channel.released,
            ),
            view=view,
            slots=slots,
            link=link,
            cpu_pool=WorkersAtOnce(),
            recording=recording,
            forced=False,
            observed=False,
            low=low,
            holds_link=ready.policies.queue is not None,
        )
        self._steps = inputs.loop.steps()
        recording.start()

    def begin(self) -> None:
        """Begin the next token."""
        self._step = next(self._steps)
        self.executor.begin(self._step)

    def end(self) -> None:
        """End it."""
        self.executor.end(self._step)


def _losses(
    runs: Sequence[_Run], offloaded: OffloadedModel, device: Device, segments: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Run segments side by side; return their losses [B, n]."""
    ids_BT = torch.tensor(segments, device=device.torch_device)
    context = DynamicCache(config=offloaded.model.config)
    losses = []

    def visit(layer: int, hidden_BH: Tensor, ids_BK: Tensor, weights_BK: Tensor) -> Tensor:
        rows = [slice(row, row + 1) for row in range(len(runs))]
        visits = [
            run.executor.visit(layer, hidden_BH[row], ids_BK[row], weights_BK[row])
            for run, row in zip(runs, rows, strict=True)
        ]
        return torch.cat(visits)

    offloaded.visit = visit
    try:
        with torch.inference_mode():
            for place in range(ids_BT.shape[1] - 1):
                for run in runs:
                    run.begin()
                output = offloaded.model(
                    input_ids=ids_BT[:, place : place + 1], past_key_values=context, use_cache=True
                )
                losses.append(token_losses(output.logits[:, -1], ids_BT[:, place + 1]))
                for run in runs:
                    run.end()
    finally:
        offloaded.visit = None
    return np.stack(losses, axis=1)


def mass_fracs(counters: Counters) -> dict[str, float]:
    """Return what was lost by kind, as shares of the gate mass of all tokens and layers."""
    whole = counters.routed_tokens * counters.num_layers * WHOLE_MASS
    return {kind: sum(getattr(counters, name)) / whole for kind, name in KINDS.items()}
