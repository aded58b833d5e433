"""Replay a scenario on real hardware: the same trace, policies and cache, carried out by the torch runtime.

Between two steps the run is paused for what a server would not do: the next step is prepared, the one before it noted, and
on the CPU the machine's speed and what it kept from the replay probed. None of that counts in any time, and the link is
paused as well.

Limits: without a throttle, the rest of a chunk that is being copied when a pause begins costs the run no time, and may slow
the probe. On CUDA, what preparing leaves on the stream counts as part of the step. Copies back to the host are counted when
they are asked for, in the simulation when they have ended.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from hardware_profiles.errors import InputError
from simulator.dispatch import Dispatch
from simulator.inputs import Inputs, resolve_inputs
from simulator.metrics.collector import Collector
from simulator.metrics.summary import summarise
from simulator.model.quantisation import parse_quantisation
from simulator.prepare import Prepared, prepare
from simulator.scenario import Scenario
from simulator.timeline import Timeline
from simulator.workload.step import Step
from validation.replay.forward import StepRunner
from validation.replay.measured_step import MeasuredStep
from validation.runtime.cores import Cores
from validation.runtime.cpu_pool import CpuPool
from validation.runtime.device import Device
from validation.runtime.executor import READ_IN_PLACE, Executor
from validation.runtime.link import CopyLink
from validation.runtime.offload import OffloadedModel
from validation.runtime.quiet import quiet
from validation.runtime.recording import Recording, span_cost_ns
from validation.runtime.slots import Low, SlotChannel, Slots, num_low_slots
from validation.runtime.speed import probe_ns
from validation.runtime.throttle import Throttle
from validation.runtime.waiting import waited_ns
from validation.runtime.write_back import WriteBack

Progress = Callable[[int, int], None]
"""Called with (steps so far, steps in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How the hardware is used: compute threads of the `cpu` device, CPU workers for experts and their threads."""

    device: Device
    num_threads: int = 1
    num_cpu_workers: int = 1
    threads_per_cpu_worker: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was measured.

    `summary` has the keys of a simulated run's metrics, `layers` the counts per routing round, `steps` all steps, warm-up
    included. `num_other_picks` counts the tokens whose own gates picked other experts than the trace says, over all layers.
    `recording_frac` is what recording took, as a share of the run's time: noting the stretches of work, which is in that
    time, and resolving them, which is not.
    """

    summary: Mapping[str, object]
    steps: Sequence[MeasuredStep]
    num_other_picks: int
    recording_frac: float


def replay(
    scenario: Scenario,
    offloaded: OffloadedModel,
    machine: Machine,
    *,
    forced: bool,
    throttle: Throttle | None = None,
    chunk_bytes: int | None = None,
    slots: Slots | None = None,
    source: str = "scenario",
    timeline_path: Path | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Run a scenario once, in real time.

    The scenario's trace gives the steps, and with `forced` the experts; without, the model's own gates pick, and the trace
    should have been recorded of them. `slots`, made by `Slots` for at least as many experts as the cache holds, may be
    reused from run to run. Raises InputError for what does not fit together.
    """
    inputs = resolve_inputs(scenario, source)
    trace = inputs.trace
    if (trace.num_layers, trace.num_experts) != (offloaded.num_layers, offloaded.num_experts):
        raise InputError(
            source,
            f"{trace.path} has {trace.num_layers} rounds of {trace.num_experts} experts, the model "
            f"{offloaded.num_layers} of {offloaded.num_experts}; replay a trace of the model's shape",
        )
    if scenario.host_cache is not None:
        raise InputError(
            source, "host_cache: is simulated alone; the runtime keeps all experts in host memory: take it away"
        )
    if scenario.gpus is not None and scenario.gpus.count > 1:
        raise InputError(source, "gpus: are simulated alone; the runtime has one device: take them away")
    if scenario.tiles is not None:
        raise InputError(
            source, "tiles: are simulated alone; the runtime moves and computes whole experts: take them away"
        )
    if inputs.profile.link.host_memory == "pageable":
        raise InputError(
            source, "link.host_memory: pageable copies are simulated alone; the runtime's host memory is pinned: say so"
        )
    ready = prepare(scenario, inputs, source, max_lookahead=None if forced else trace.num_layers - 1)
    if getattr(ready.policies.miss, "READS_IN_PLACE", False):
        raise InputError(source, f"miss: {inputs.policies['miss'].name}: {READ_IN_PLACE}; name another to replay")
    device, cache = machine.device, ready.cache
    num_low = num_low_slots(cache, num_keys=ready.view.num_keys, num_experts=ready.view.num_experts)
    num_slots = cache.num_slots - num_low
    if slots is None:
        slots = Slots(device, offloaded.host, num_slots=num_slots)
    if slots.num_slots < num_slots:
        raise InputError(source, f"cache: {num_slots} experts, but only {slots.num_slots} slots were made")
    slots.clear()
    low = _low(scenario, offloaded, device, num_slots=num_low + cache.num_staging, source=source)
    recording = Recording(device, keep_spans=timeline_path is not None)
    with (
        quiet(machine.num_threads if device.torch_device.type == "cpu" else None),
        CopyLink(device, chunk_bytes=chunk_bytes, throttle=throttle) as link,
        CpuPool(machine.num_cpu_workers, machine.threads_per_cpu_worker) as cpu_pool,
        _write_back(scenario, offloaded, device) as write_back,
    ):
        channel = SlotChannel(cache=cache, slots=slots, host=offloaded.host, link=link, low=low)
        channel.fill()

        def copy_back(key: int) -> None:
            assert write_back is not None
            of_key = channel.slots_of(key)
            write_back.copy(of_key.flat(key), of_key.last_use(key))
            dispatch.counters.write_backs += 1

        dispatch = Dispatch(
            view=ready.view,
            cache=cache,
            channel=channel,
            policies=ready.policies,
            timeline=recording if timeline_path is not None else None,
            now_ns=recording.now_ns,
            released=channel.released,
            evicted=copy_back if write_back is not None else None,
        )
        executor = Executor(
            offloaded,
            device,
            dispatch=dispatch,
            view=ready.view,
            slots=slots,
            link=link,
            cpu_pool=cpu_pool,
            recording=recording,
            forced=forced,
            observed=timeline_path is not None,
            low=low,
            write_back=write_back,
            holds_link=ready.policies.queue is not None,
        )
        collector = Collector(warmup_steps=scenario.warmup_steps, snapshot=executor.snapshot)
        measured_steps = _run_steps(
            scenario, inputs, ready, offloaded, device, executor, recording, collector, progress, forced=forced
        )
        counters = executor.snapshot()
        services = list(link.services)
        noting_ns = span_cost_ns(device)
    collector.close()
    measured = counters.minus(collector.at_warmup) if collector.at_warmup is not None else counters
    if timeline_path is not None:
        with Timeline(timeline_path, num_experts=trace.num_experts, process_name="measured") as timeline:
            recording.play(timeline, services=services, cpu_experts=executor.cpu_experts)
    layout_bytes = offloaded.layout.num_bytes
    summary = summarise(
        measured,
        collector,
        warmup_ns=counters.now_ns - measured.now_ns,
        expert_bytes=layout_bytes,
        transfer_ns=ready.costs.transfer_ns,
        low_expert_bytes=low.host.layout.num_bytes if low is not None else 0,
        num_cpu_workers=machine.num_cpu_workers,
        unused_prefetches=dispatch.num_unused_prefetches(),
    )
    return Replayed(
        summary=summary,
        steps=measured_steps,
        num_other_picks=executor.num_other_picks,
        recording_frac=(recording.spent_ns + recording.num_spans * noting_ns) / counters.now_ns,
    )


def _run_steps(
    scenario: Scenario,
    inputs: Inputs,
    ready: Prepared,
    offloaded: OffloadedModel,
    device: Device,
    executor: Executor,
    recording: Recording,
    collector: Collector,
    progress: Progress | None,
    *,
    forced: bool,
) -> list[MeasuredStep]:
    """Run all steps; return what was measured of each."""
    loop, view = inputs.loop, ready.view
    steps: list[Step] = list(
        loop.steps(lookahead_layers=view.lookahead_layers, gate_weights=view.needs_gate_weights)
        if forced
        else loop.steps()  # the model's gates are asked instead
    )
    lengths = inputs.trace.sequence_start[1:] - inputs.trace.sequence_start[:-1] + inputs.trace.context_start
    runner = StepRunner(
        offloaded.model,
        device.torch_device,
        batch=min(scenario.batch, len(loop.sequences)),
        max_context=int(lengths[list(loop.sequences)].max()),
        seed=scenario.seed,
    )
    ends_ns = [0]
    outcomes = [(0, 0, 0)]
    probes_ns: list[int | None] = []  # the slower of those before and after each step
    slowest_ns: list[int] = []  # of the slowest core, before each step
    waits_ns: list[int | None] = []  # of all threads, for a core
    is_cpu = device.torch_device.type == "cpu"
    offloaded.visit = executor.visit
    try:
        with torch.inference_mode(), Cores() as cores:
            recording.start()
            for number, step in enumerate(steps):
                with executor.paused():
                    runner.prepare(step)
                    before_ns = cores.settle() if is_cpu else 0
                    slowest_ns.append(cores.slowest_ns)
                    since_ns = waited_ns() if is_cpu else 0
                executor.begin(step)
                runner.run(step)
                executor.end(step)
                ends_ns.append(recording.now_ns())
                outcomes.append(executor.outcomes())
                with executor.paused():
                    waits_ns.append(waited_ns() - since_ns if is_cpu else None)
                    probes_ns.append(max(before_ns, probe_ns()) if is_cpu else None)
                collector.step_ended(step, ends_ns[-1])
                if progress is not None:
                    progress(number + 1, len(steps))
            if is_cpu:
                with executor.paused():
                    cores.settle()
            slowest_ns.append(cores.slowest_ns)
    finally:
        offloaded.visit = None
    return [
        MeasuredStep(
            duration_ns=end_ns - start_ns,
            num_emits=len(step.emits),
            hits=after[0] - before[0],
            late_hits=after[1] - before[1],
            misses=after[2] - before[2],
            probe_ns=slower_ns,
            slowest_core_ns=max(around_ns) if is_cpu else None,
            waited_ns=lost_ns,
        )
        for step, (start_ns, end_ns), (before, after), slower_ns, around_ns, lost_ns in zip(
            steps, pairwise(ends_ns), pairwise(outcomes), probes_ns, pairwise(slowest_ns), waits_ns, strict=True
        )
    ]


def _low(scenario: Scenario, offloaded: OffloadedModel, device: Device, *, num_slots: int, source: str) -> Low | None:
    """Return low-precision copies and slots for them, if the scenario has such. Raises InputError for an unfit format."""
    if scenario.low_precision is None:
        return None
    try:
        copies = offloaded.low_copies(parse_quantisation(scenario.low_precision.format), device)
    except ValueError as error:
        raise InputError(source, f"low_precision.format: {error}") from None
    return Low.on(device, copies, num_slots=num_slots)


def _write_back(
    scenario: Scenario, offloaded: OffloadedModel, device: Device
) -> AbstractContextManager[WriteBack | None]:
    """Return what copies evicted experts back, if the scenario asks for it."""
    if not scenario.cache.write_back:
        return nullcontext()
    return WriteBack(device, scratch=device.host_tensor(offloaded.layout.num_bytes, torch.uint8))
