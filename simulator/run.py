"""Run a scenario: put trace, model, machine, cache and policies together, simulate, and gather what comes out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.quantity import Dimension, parse_quantity
from simulator.caveats import assumptions, warnings_of_run, warnings_of_service
from simulator.costs.roofline import RooflineCosts
from simulator.engine import WHOLE, Engine, KvCopyNs, StepEnded, Tiles
from simulator.gpus.lockstep import Lockstep
from simulator.gpus.several import Several
from simulator.inputs import Inputs, resolve_inputs
from simulator.metrics.collector import Collector
from simulator.metrics.counters import Counters
from simulator.metrics.distribution import Distribution
from simulator.metrics.energy import busy_times, energy_of, price_of
from simulator.metrics.summary import Latencies, summarise, summarise_host_cache
from simulator.miss.fetch import Fetch
from simulator.miss.protocol import StartsEarly
from simulator.model.footprint import expert_bytes
from simulator.model.spec import ModelSpec
from simulator.prepare import Prepared, prepare
from simulator.quality import quality_of
from simulator.replicas.group import Group
from simulator.replicas.summary import summarise_replicas
from simulator.replicas.timelines import timelines_of_replicas
from simulator.replicas.whole import Whole, merged_counters
from simulator.resources.clock import Clock
from simulator.scenario import Scenario
from simulator.serving.interrupts import interrupts
from simulator.serving.service import Service
from simulator.serving.summary import summarise_service
from simulator.serving.traffic import Traffic
from simulator.timeline import Timeline
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.request import Request
from simulator.workload.step import Step, Wait
from traces.format import Trace

OnStep = Callable[[Step, int, Callable[[], Counters]], None]

Progress = Callable[[int, int], None]
"""Called with (output tokens so far, output tokens in all) at the end of each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came out of a run.

    `summary` is what `--json` prints; `layers` the counts per routing round; `latencies` the distributions behind its
    percentiles, by `ttft`, `tpot`, `itl` and `e2e`; `profile` the machine with all overrides.
    """

    scenario: Scenario
    summary: Mapping[str, object]
    requests: Sequence[Request]
    layers: Sequence[Mapping[str, int]]
    latencies: Mapping[str, Distribution]
    trace: Trace
    profile: HardwareProfile
    model: ModelSpec


def simulate(
    scenario: Scenario,
    *,
    source: str = "scenario",
    timeline_path: Path | None = None,
    progress: Progress | None = None,
    on_step: OnStep | None = None,
    inputs: Inputs | None = None,
) -> RunResult:
    """Simulate a scenario. Raises InputError and TraceError for what is wrong with it, before anything is run.

    `on_step`, if given, is called with each step, the time in ns when its tokens are out, and what gives the counts up to
    then, warm-up included.
    `inputs` are what `resolve_inputs` gave for this very scenario, where that was asked already; they serve one run.
    """
    inputs = resolve_inputs(scenario, source) if inputs is None else inputs
    if scenario.replicas is not None:
        return _simulate_replicas(scenario, inputs, source, timeline_path, progress, on_step)
    trace, loop = inputs.trace, inputs.loop
    num_gpus = 1 if scenario.gpus is None else scenario.gpus.count
    several = Several(scenario, inputs, source) if num_gpus > 1 else None
    ready = prepare(scenario, inputs, source) if several is None else several.ready[0]
    view = ready.view
    service: Service | None = None
    if scenario.workload is not None:
        service = Service(scenario, inputs, ready, Traffic(scenario, inputs, source), source, num_gpus=num_gpus)
    total_tokens = _output_tokens(loop) if service is None else service.stop.bounds.tokens or 0
    engine: Engine | Lockstep
    collector: Collector

    def step_ended(step: Step, now_ns: int) -> None:
        if service is None:
            collector.step_ended(step, now_ns)
        else:
            service.step_ended(step, now_ns)
        if progress is not None:
            progress(engine.counters.output_tokens, total_tokens)
        if on_step is not None:
            on_step(step, now_ns, engine.snapshot)

    steps = (
        loop.steps(lookahead_layers=view.lookahead_layers, gate_weights=view.needs_gate_weights)
        if service is None
        else service.steps()
    )
    with _timeline(timeline_path, trace, view.num_keys, "moesim" if several is None else "GPU 0") as timeline:
        if several is not None:
            engine = several.engine(steps, step_ended, timeline)
        else:
            engine = _engine(
                scenario,
                inputs,
                ready,
                source,
                steps=steps,
                step_ended=step_ended,
                timeline=timeline,
                kv_copy_ns=None if service is None else service.kv_copy_ns,
            )
        collector = Collector(warmup_steps=scenario.warmup_steps, snapshot=engine.snapshot)
        if service is not None:
            service.read_from(engine)
        with nullcontext() if service is None else interrupts(service.stop), _faults_of(source):
            engine.run()
    collector.close()
    if scenario.warmup_steps and collector.num_steps <= scenario.warmup_steps:
        raise InputError(
            source,
            f"warmup_steps: {scenario.warmup_steps} leaves nothing to measure; the run has {collector.num_steps} steps",
        )
    counters = engine.snapshot()
    measured = counters.minus(collector.at_warmup) if collector.at_warmup is not None else counters
    latencies = collector if service is None else service
    summary = _summary(scenario, inputs, ready, counters, measured, latencies, unused=engine.num_unused_prefetches())
    if several is not None:
        summary = several.summary(summary, measured, is_warmed_up=collector.at_warmup is not None)
    return RunResult(
        scenario=scenario,
        summary=summary,
        requests=latencies.requests,
        layers=layer_rows(measured),
        latencies=_distributions(latencies),
        trace=trace,
        profile=inputs.profile,
        model=inputs.model,
    )


def _simulate_replicas(
    scenario: Scenario,
    inputs: Inputs,
    source: str,
    timeline_path: Path | None,
    progress: Progress | None,
    on_step: OnStep | None,
) -> RunResult:
    """Simulate a service of several machines. Raises InputError and TraceError."""
    assert scenario.replicas is not None
    trace, count = inputs.trace, scenario.replicas.count
    num_keys = trace.num_banks * trace.num_experts
    with timelines_of_replicas(timeline_path, count, num_experts=trace.num_experts, num_keys=num_keys) as timelines:

        def make_engine(
            at: int, ready: Prepared, service: Service, steps: Iterator[Step | Wait], clock: Clock
        ) -> Engine:
            def step_ended(step: Step, now_ns: int) -> None:
                service.step_ended(step, now_ns)
                if progress is not None:
                    tokens = sum(replica.engine.counters.output_tokens for replica in group.replicas)
                    progress(tokens, service.stop.bounds.tokens or 0)
                if on_step is not None:
                    on_step(step, now_ns, engine.snapshot)

            engine = _engine(
                scenario,
                inputs,
                ready,
                source,
                steps=steps,
                step_ended=step_ended,
                timeline=timelines[at],
                kv_copy_ns=service.kv_copy_ns,
                clock=clock,
            )
            return engine

        group = Group(scenario, inputs, source, make_engine)
        with interrupts(group.traffic.stop), _faults_of(source):
            group.run()
    counters = merged_counters([replica.engine.snapshot() for replica in group.replicas])
    whole = Whole.of(group.services(), notes=group.notes())
    unused = sum(replica.engine.dispatch.num_unused_prefetches() for replica in group.replicas)
    summary = _summary(scenario, inputs, group.replicas[0].ready, counters, counters, whole, unused=unused)
    return RunResult(
        scenario=scenario,
        summary=summary | {"replicas": summarise_replicas(scenario.replicas, group.replicas)},
        requests=whole.requests,
        layers=layer_rows(counters),
        latencies=_distributions(whole),
        trace=trace,
        profile=inputs.profile,
        model=inputs.model,
    )


def _engine(
    scenario: Scenario,
    inputs: Inputs,
    ready: Prepared,
    source: str,
    *,
    steps: Iterable[Step | Wait],
    step_ended: StepEnded,
    timeline: Timeline | None,
    kv_copy_ns: KvCopyNs | None,
    clock: Clock | None = None,
) -> Engine:
    """Return an engine of the scenario's machine. Raises InputError."""
    return Engine(
        steps=steps,
        costs=ready.costs,
        cache=ready.cache,
        view=ready.view,
        policies=ready.policies,
        step_ended=step_ended,
        timeline=timeline,
        env=clock,
        shares_memory=scenario.cache.write_back
        or not isinstance(ready.policies.miss, Fetch)
        or (ready.host is not None and not ready.host.holds_all),
        writes_back=scenario.cache.write_back,
        is_pageable=inputs.profile.link.host_memory == "pageable",
        tiles=_tiles(scenario, ready.costs, source),
        kv_copy_ns=kv_copy_ns,
        host=ready.host,
    )


@contextmanager
def _faults_of(source: str) -> Iterator[None]:
    """Have what turns out while a run goes, such as an expert that no slot can ever be had for, name its source."""
    try:
        yield
    except InputError as error:
        raise InputError(source, [f"{error.source}: {fault}" for fault in error.faults]) from None


def _summary(
    scenario: Scenario,
    inputs: Inputs,
    ready: Prepared,
    counters: Counters,
    measured: Counters,
    latencies: Collector | Service | Whole,
    *,
    unused: int,
) -> dict[str, object]:
    """Return what `--json` prints; of several machines alike, `ready` is that of the first."""
    trace, costs, budget, cache = inputs.trace, ready.costs, ready.budget, ready.cache
    bytes_each = expert_bytes(inputs.model)
    num_machines = 1 if scenario.replicas is None else scenario.replicas.count
    summary = summarise(
        measured,
        latencies,
        warmup_ns=counters.now_ns - measured.now_ns,
        expert_bytes=bytes_each,
        transfer_ns=costs.transfer_ns,
        low_expert_bytes=costs.low_expert_bytes,
        num_cpu_workers=costs.num_cpu_workers,
        unused_prefetches=unused,
        num_machines=num_machines,
    )
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    if not isinstance(latencies, Collector):
        summary |= summarise_service(latencies, measured)
        notes = latencies.notes()
        warnings = warnings_of_service(scenario, latencies.record.classes)
    summary |= _energy_and_price(inputs.profile, costs, measured, num_machines)
    loss = summary["loss"]
    assert isinstance(loss, dict)
    if ready.host is not None:
        summary["host_cache"] = summarise_host_cache(
            measured,
            num_slots=ready.host.cache.num_slots,
            num_experts=trace.num_banks * trace.num_experts,
            expert_bytes=bytes_each,
            read_ns=costs.read_chunk_ends_ns[-1],
        )
    num_low = cache.num_slots_of(range(ready.view.num_keys, len(cache.state)))
    num_slots = cache.num_slots - num_low
    low_format = None if scenario.low_precision is None else scenario.low_precision.format
    return summary | {
        "quality": quality_of(
            loss,
            low_format=low_format,
            is_counted=not isinstance(ready.policies.miss, StartsEarly),
        ),
        "cache": {
            "experts": num_slots,
            "bytes": num_slots * bytes_each + num_low * costs.low_expert_bytes,
            "frac": num_slots / (trace.num_banks * trace.num_experts),
            "pinned_experts": cache.num_pinned,
            "staging_experts": cache.num_staging,
            "low_precision_copies": num_low,
            "scope": scenario.cache.scope,
        },
        "expert_bytes": bytes_each,
        "memory": {
            "capacity_bytes": budget.capacity_bytes,
            "reserve_bytes": budget.reserve_bytes,
            "non_expert_bytes": budget.non_expert_bytes,
            "kv_cache_bytes": budget.kv_cache_bytes,
            "activation_bytes": budget.activation_bytes,
            "left_for_experts_bytes": budget.expert_cache_bytes,
        },
        "model": inputs.model.name,
        "hardware": inputs.profile.name,
        "policies": {kind: {"name": choice.name, **choice.parameters} for kind, choice in inputs.policies.items()},
        "warnings": [
            *ready.warnings,
            *warnings,
            *warnings_of_run(
                scenario, inputs, knows_future=ready.view.future is not None, is_exact=latencies.itl.is_exact
            ),
        ],
        "assumptions": [*assumptions(inputs, ready.view, low_format), *notes],
    }


def _energy_and_price(
    profile: HardwareProfile, costs: RooflineCosts, measured: Counters, num_machines: int
) -> dict[str, object]:
    """Return what the measured part of a run draws and costs, all machines together; None where they do not say."""
    machines_ns = measured.now_ns * num_machines
    measured = measured.copy()
    measured.now_ns = machines_ns
    busy = busy_times(
        measured,
        profile,
        expert_bytes=costs.expert_bytes,
        low_expert_bytes=costs.low_expert_bytes,
        num_cpu_workers=costs.num_cpu_workers,
    )
    energy = energy_of(profile.power, busy, output_tokens=measured.output_tokens)
    if energy is not None and isinstance(energy["mean_power_w"], float):
        energy["mean_power_w"] *= num_machines
    price = price_of(
        profile.price,
        energy,
        makespan_ns=machines_ns,
        output_tokens=measured.output_tokens,
        all_tokens=measured.prefill_tokens + measured.output_tokens,
    )
    return {"energy": energy, "price": price}


@contextmanager
def _timeline(path: Path | None, trace: Trace, num_keys: int, name: str) -> Iterator[Timeline | None]:
    """Open a timeline, if one is asked for."""
    if path is None:
        yield None
        return
    with Timeline(path, num_experts=trace.num_experts, num_keys=num_keys, process_name=name) as timeline:
        yield timeline


def _distributions(latencies: Latencies) -> dict[str, Distribution]:
    return {"ttft": latencies.ttft, "tpot": latencies.tpot, "itl": latencies.itl, "e2e": latencies.e2e}


def layer_rows(counters: Counters) -> list[Mapping[str, int]]:
    """Return the counts of each routing round as rows."""
    names = counters.layer_fields()
    return [
        {"layer": layer, **{name: getattr(counters, name)[layer] for name in names}}
        for layer in range(counters.num_layers)
    ]


def _tiles(scenario: Scenario, costs: RooflineCosts, source: str) -> Tiles:
    """Return into how many tiles experts are divided. Raises InputError where one kernel computes several experts."""
    choice = scenario.tiles
    if choice is None:
        return WHOLE
    if costs.kernels_are_grouped:
        raise InputError(
            source, "tiles: need a kernel for each expert, and the profile's runtime.expert_kernels is grouped"
        )
    overhead_ns = int(parse_quantity(choice.overhead, Dimension.SECONDS) * 10**9)
    return Tiles(count=choice.count, overhead_ns=overhead_ns)


def _output_tokens(loop: ClosedLoop) -> int:
    """Count the output tokens of a run: one for each prefill and each decoded token."""
    trace = loop.trace
    sequences = list(loop.sequences)
    lengths = (trace.sequence_start[1:] - trace.sequence_start[:-1])[sequences]
    prompts = trace.prompt_tokens[sequences]
    total = int((lengths - prompts + (prompts > 0)).sum())
    return total if loop.max_tokens is None else min(total, loop.max_tokens)
