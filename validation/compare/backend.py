"""Replay the configurations of a suite with the torch runtime, and record what a model's own gates route.

Limits: the model's own routing is recorded with all sequences in one batch; in a batch of another size a gate may decide a
near tie otherwise. A replay tells for how many tokens that was so (`num_other_picks`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from simulator.scenario import share_of
from simulator.workload.closed_loop import ClosedLoop
from validation.compare.facts import processor_name
from validation.compare.replaying import Replay
from validation.compare.simulate import CalibratedProfile, scenario_of
from validation.compare.suite import Configuration, SuiteModel
from validation.models.checkpoint import checkpoint_model
from validation.models.random import random_model
from validation.replay.forward import StepRunner
from validation.replay.own_routing import RoutingLog, workload_trace
from validation.replay.replay import Machine, Replayed, replay
from validation.runtime.device import Device, open_device
from validation.runtime.gates import picks_by_weight
from validation.runtime.kernel import compute_expert
from validation.runtime.offload import OffloadedModel
from validation.runtime.output import LayerOutput
from validation.runtime.slots import Slots
from validation.runtime.throttle import Throttle

LOOKAHEAD_DISTANCES = 3


def device_name_of(device: str) -> str:
    """Return the name of the processor or GPU behind `cpu` or `cuda:N`. Raises InputError for a device that is not there."""
    opened = open_device(device)
    if opened.torch_device.type == "cuda":
        return str(torch.cuda.get_device_name(opened.torch_device))
    return processor_name()


class TorchBackend:
    """`validation.compare.replaying.Backend` on this machine. `profiles` has the profile of each model, by name."""

    def __init__(self, device: str, profiles: Mapping[str, CalibratedProfile], *, num_threads: int = 1) -> None:
        self.device = device
        self.device_name = device_name_of(device)
        self._device = open_device(device)
        self._profiles = profiles
        self._num_threads = num_threads

    def record(self, name: str, model: SuiteModel, target: Path) -> None:
        """Write the trace of a model's own routing of its sequences, with lookahead, to `target`."""
        offloaded = _build(model, self._device)
        with TemporaryDirectory(prefix=".moesim-", dir=target.parent) as temporary:
            workload = workload_trace(
                Path(temporary) / "lengths.safetensors",
                prompt_tokens=[model.prompt_tokens] * model.sequences,
                output_tokens=[model.output_tokens + (model.prompt_tokens > 0)] * model.sequences,
                num_layers=offloaded.num_layers,
                num_experts=offloaded.num_experts,
                top_k=offloaded.top_k,
                banks=tuple(offloaded.bank_of_layer),
            )
            loop = ClosedLoop(trace=workload, sequences=range(model.sequences), batch=model.sequences)
            log = _record(offloaded, self._device, loop, model)
        log.write(target, model=name, gate="as the model applies it", captured=f"by moesim on {self.device_name}")

    @contextmanager
    def open(self, name: str, model: SuiteModel) -> Iterator[Replay]:
        """Build a model, once for all its configurations, and replay on it."""
        offloaded = _build(model, self._device)
        profile = self._profiles[name]
        workers = profile.profile.runtime.cpu_workers
        machine = Machine(
            device=self._device,
            num_threads=self._num_threads,
            num_cpu_workers=1 if workers is None else int(workers.value),
        )
        slots: list[Slots] = []

        def run(configuration: Configuration, timeline: Path | None) -> Replayed:
            num_slots = share_of(configuration.cache_frac, offloaded.host.num_banks * offloaded.num_experts)
            if not slots or slots[0].num_slots < num_slots:
                slots.clear()  # first: both together may not fit
                slots.append(Slots(self._device, offloaded.host, num_slots=num_slots))
            return replay(
                scenario_of(configuration, profile),
                offloaded,
                machine,
                forced=model.routing == "forced",
                throttle=_throttle(configuration),
                chunk_bytes=configuration.chunk_bytes,
                slots=slots[0],
                source=f"configuration {configuration.id}",
                timeline_path=timeline,
            )

        yield run


def _build(model: SuiteModel, device: Device) -> OffloadedModel:
    dtype: torch.dtype = getattr(torch, model.dtype)
    if model.config is not None:
        return random_model(model.config, device, dtype, model.seed)
    assert model.checkpoint is not None
    return checkpoint_model(model.checkpoint, device, dtype)


def _throttle(configuration: Configuration) -> Throttle | None:
    if configuration.bandwidth_bytes_per_s is None:
        return None
    return Throttle(bandwidth_bytes_per_s=configuration.bandwidth_bytes_per_s, latency_s=configuration.latency_s)


def _record(offloaded: OffloadedModel, device: Device, loop: ClosedLoop, model: SuiteModel) -> RoutingLog:
    """Run the steps of a loop with the model's own routing, expert after expert, and note it."""
    distances = min(LOOKAHEAD_DISTANCES, offloaded.num_layers - 1)
    log = RoutingLog(
        num_layers=offloaded.num_layers,
        num_experts=offloaded.num_experts,
        top_k=offloaded.top_k,
        distances=distances,
        banks=tuple(offloaded.bank_of_layer),
    )
    runner = StepRunner(
        offloaded.model,
        device.torch_device,
        batch=loop.batch,
        max_context=model.prompt_tokens + model.output_tokens,
        seed=model.seed,
    )
    routing: list[list[list[int]]] = []  # [L][N][K]
    lookahead: list[list[Sequence[Sequence[int]]]] = []  # [L][D][N][K]

    def visit(layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        picks = ids_NK.tolist()
        routing.append(picks)
        ahead = range(layer + 1, layer + 1 + distances)
        gates = [offloaded.layers[at] if at < offloaded.num_layers else None for at in ahead]
        lookahead.append([picks if gate is None else picks_by_weight(gate, hidden_NH) for gate in gates])
        return _compute(offloaded, device, layer, LayerOutput(hidden_NH, ids_NK, weights_NK, host_ids_NK=picks), picks)

    offloaded.visit = visit
    try:
        for step in loop.steps():
            routing.clear()
            lookahead.clear()
            runner.run(step)
            log.add(
                step,
                [list(token) for token in zip(*routing, strict=True)],
                are_keys=False,
                lookahead_NLDK=[
                    [[distance[row] for distance in layer] for layer in lookahead] for row in range(len(step.tokens))
                ]
                if distances
                else None,
            )
    finally:
        offloaded.visit = None
    return log


def _compute(
    offloaded: OffloadedModel, device: Device, layer: int, output: LayerOutput, picks: list[list[int]]
) -> Tensor:
    """Compute a layer's experts one by one, each where the device can reach it."""
    module, host = offloaded.expert_module(layer), offloaded.host
    first_key = offloaded.bank_of_layer[layer] * offloaded.num_experts
    for expert in dict.fromkeys(pick for row in picks for pick in row):
        tensors = host.tensors(first_key + expert)
        if device.torch_device.type != "cpu":
            tensors = offloaded.layout.views(host.flat(first_key + expert).to(device.torch_device, non_blocking=True))
        output.add(expert, partial(compute_expert, module, tensors))
    return output.result()
