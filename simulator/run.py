"""Run a scenario: put trace, model, machine, cache and policies together, simulate, and gather what comes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.load import assumed_figures, describe, load_profile
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.quantity import Dimension, format_bytes, parse_quantity
from simulator.costs.roofline import RooflineCosts
from simulator.engine import Engine, RunView
from simulator.eviction import EVICTION
from simulator.memory import MemoryBudget, memory_budget
from simulator.metrics.collector import Collector
from simulator.metrics.counters import Counters
from simulator.metrics.summary import summarise
from simulator.miss import MISS
from simulator.model.footprint import expert_bytes
from simulator.model.load import load_model
from simulator.model.quantisation import Quantisation, parse_quantisation
from simulator.model.spec import ModelSpec, moe_layers
from simulator.oracle import RecordedFuture
from simulator.placement import lay_out_cache, popularity, smallest_cache
from simulator.policy import build_policy, composed_policies
from simulator.prefetch import PREFETCH, NoPrefetch
from simulator.scenario import PolicyChoice, Scenario, share_of
from simulator.timeline import Timeline
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.request import Request
from simulator.workload.step import Step
from traces.format import Trace, open_trace

Progress = Callable[[int, int], None]
"""Called with (output tokens so far, output tokens in all) at the end of each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came out of a run.

    `summary` is what `--json` prints; `layers` the counts per routing round; `profile` the machine with all overrides.
    """

    scenario: Scenario
    summary: Mapping[str, object]
    requests: Sequence[Request]
    layers: Sequence[Mapping[str, int]]
    trace: Trace
    profile: HardwareProfile
    model: ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """The scenario's names resolved."""

    trace: Trace
    model: ModelSpec
    kv_cache: Quantisation
    profile: HardwareProfile
    loop: ClosedLoop
    policies: Mapping[str, PolicyChoice]


def simulate(
    scenario: Scenario,
    *,
    source: str = "scenario",
    timeline_path: Path | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Simulate a scenario. Raises InputError and TraceError for what is wrong with it, before anything is run."""
    inputs = _resolve(scenario, source)
    trace, model, loop = inputs.trace, inputs.model, inputs.loop
    costs = RooflineCosts(model, inputs.profile, inputs.kv_cache)
    budget = _memory(scenario, inputs)
    num_slots, warnings = _num_slots(scenario, inputs, budget, source)
    view = RunView(
        num_layers=trace.num_layers,
        make_future=lambda: RecordedFuture(
            loop.steps(), num_layers=trace.num_layers, num_keys=trace.num_banks * trace.num_experts
        ),
    )
    choices = inputs.policies
    cache = lay_out_cache(
        make_eviction=lambda: build_policy("eviction", choices["eviction"], EVICTION, view, source),
        num_slots=num_slots,
        num_banks=trace.num_banks,
        num_experts=trace.num_experts,
        top_k=trace.top_k,
        scope=scenario.cache.scope,
        start=scenario.cache.start,
        held=view.held_keys,
        count_popularity=lambda: popularity(trace, loop.sequences),
    )
    prefetch = build_policy("prefetch", choices["prefetch"], PREFETCH, view, source)
    miss = build_policy("miss", choices["miss"], MISS, view, source)
    total_tokens = _output_tokens(loop)

    def step_ended(step: Step, now_ns: int) -> None:
        collector.step_ended(step, now_ns)
        if progress is not None:
            progress(engine.counters.output_tokens, total_tokens)

    def run(timeline: Timeline | None) -> Engine:
        return Engine(
            steps=loop.steps(),
            costs=costs,
            cache=cache,
            view=view,
            prefetch=None if isinstance(prefetch, NoPrefetch) else prefetch,
            miss=miss,
            step_ended=step_ended,
            timeline=timeline,
        )

    if timeline_path is None:
        engine = run(None)
        collector = Collector(warmup_steps=scenario.warmup_steps, snapshot=engine.snapshot)
        engine.run()
    else:
        with Timeline(timeline_path, num_experts=trace.num_experts) as timeline:
            engine = run(timeline)
            collector = Collector(warmup_steps=scenario.warmup_steps, snapshot=engine.snapshot)
            engine.run()
    collector.close()
    if scenario.warmup_steps and collector.num_steps <= scenario.warmup_steps:
        raise InputError(
            source,
            f"warmup_steps: {scenario.warmup_steps} leaves nothing to measure; the run has {collector.num_steps} steps",
        )
    counters = engine.snapshot()
    measured = counters.minus(collector.at_warmup) if collector.at_warmup is not None else counters
    summary = summarise(
        measured,
        collector,
        warmup_ns=counters.now_ns - measured.now_ns,
        expert_bytes=expert_bytes(model),
        transfer_ns=costs.transfer_ns,
    )
    summary |= {
        "cache": {
            "experts": cache.num_slots,
            "bytes": cache.num_slots * expert_bytes(model),
            "frac": cache.num_slots / (trace.num_banks * trace.num_experts),
            "pinned_experts": cache.num_pinned,
            "scope": scenario.cache.scope,
        },
        "expert_bytes": expert_bytes(model),
        "memory": {
            "capacity_bytes": budget.capacity_bytes,
            "reserve_bytes": budget.reserve_bytes,
            "non_expert_bytes": budget.non_expert_bytes,
            "kv_cache_bytes": budget.kv_cache_bytes,
            "activation_bytes": budget.activation_bytes,
            "left_for_experts_bytes": budget.expert_cache_bytes,
        },
        "model": model.name,
        "hardware": inputs.profile.name,
        "policies": {kind: {"name": choice.name, **choice.parameters} for kind, choice in choices.items()},
        "warnings": [*warnings, *_warnings(scenario, inputs, view, collector)],
        "assumptions": _assumptions(inputs, cache_pins=cache.num_pinned > 0, start=scenario.cache.start),
    }
    return RunResult(
        scenario=scenario,
        summary=summary,
        requests=collector.requests,
        layers=layer_rows(measured),
        trace=trace,
        profile=inputs.profile,
        model=model,
    )


def layer_rows(counters: Counters) -> list[Mapping[str, int]]:
    """Return the counts of each routing round as rows."""
    names = counters.layer_fields()
    return [
        {"layer": layer, **{name: getattr(counters, name)[layer] for name in names}}
        for layer in range(counters.num_layers)
    ]


def _resolve(scenario: Scenario, source: str) -> _Inputs:
    trace = open_trace(scenario.trace)
    model = load_model(scenario.model)
    quantisation = scenario.quantisation
    try:
        formats = {
            key: parse_quantisation(value).name
            for key, value in (("experts", quantisation.experts), ("rest", quantisation.rest))
            if value is not None
        }
        kv_cache = parse_quantisation(quantisation.kv_cache)
    except ValueError as error:
        raise InputError(source, f"quantisation: {error}") from None
    if "experts" in formats:
        model = replace(model, expert_quantisation=formats["experts"])
    if "rest" in formats:
        model = replace(model, rest_quantisation=formats["rest"], embedding_quantisation=formats["rest"])
    num_rounds = len(moe_layers(model))
    trace.require_model(num_layers=num_rounds, num_experts=model.num_experts, top_k=model.top_k, model=model.name)
    overrides: dict[str, object] = dict(scenario.hardware_set)
    if scenario.pcie is not None:
        overrides = {"link.h2d.preset": scenario.pcie, "link.d2h.preset": scenario.pcie} | overrides
    profile = load_profile(scenario.hardware, overrides)
    sequences = range(trace.num_sequences)
    if scenario.sequences is not None:
        if scenario.sequences > trace.num_sequences:
            raise InputError(
                source,
                f"sequences: {scenario.sequences} asked for, but {trace.path} has {trace.num_sequences}; name fewer",
            )
        sequences = range(scenario.sequences)
    loop = ClosedLoop(
        trace=trace,
        sequences=sequences,
        batch=scenario.batch,
        prefill_chunk_tokens=scenario.prefill_chunk_tokens,
        max_tokens=scenario.max_tokens,
    )
    policies = composed_policies(scenario, source)
    return _Inputs(trace=trace, model=model, kv_cache=kv_cache, profile=profile, loop=loop, policies=policies)


def _memory(scenario: Scenario, inputs: _Inputs) -> MemoryBudget:
    trace = inputs.trace
    sequences = list(inputs.loop.sequences)
    lengths = trace.sequence_start[1:] - trace.sequence_start[:-1] + trace.context_start
    longest_prefill = int(trace.prompt_tokens[sequences].max())
    if scenario.prefill_chunk_tokens is not None:
        longest_prefill = min(longest_prefill, scenario.prefill_chunk_tokens)
    return memory_budget(
        inputs.model,
        inputs.profile,
        inputs.kv_cache,
        batch=scenario.batch,
        longest_context=int(lengths[sequences].max()),
        largest_step_tokens=max(longest_prefill, scenario.batch),
    )


def _num_slots(scenario: Scenario, inputs: _Inputs, budget: MemoryBudget, source: str) -> tuple[int, list[str]]:
    """Return the cache's capacity in experts, and what there is to warn of."""
    trace, choice = inputs.trace, scenario.cache
    bytes_each = expert_bytes(inputs.model)
    num_experts = trace.num_banks * trace.num_experts
    left_bytes = budget.expert_cache_bytes
    if choice.experts is not None:
        num_slots, given = choice.experts, f"cache.experts = {choice.experts}"
    elif choice.bytes is not None:
        num_slots = int(parse_quantity(choice.bytes, Dimension.BYTES)) // bytes_each
        given = f"cache.bytes = {choice.bytes}"
    elif choice.frac is not None:
        num_slots, given = share_of(choice.frac, num_experts), f"cache.frac = {choice.frac}"
    else:
        num_slots = max(0, left_bytes) // bytes_each
        given = f"what GPU memory leaves, {format_bytes(left_bytes)}"
    smallest = smallest_cache(num_banks=trace.num_banks, top_k=trace.top_k, scope=choice.scope)
    if num_slots < smallest:
        raise InputError(
            source,
            f"cache: {given} holds {num_slots} experts of {format_bytes(bytes_each)}; one token's working set needs "
            f"{smallest} (top-{trace.top_k}"
            + (f" in each of {trace.num_banks} banks" if smallest > trace.top_k else "")
            + f"): {format_bytes((smallest - num_slots) * bytes_each)} more",
        )
    warnings = []
    if num_slots > num_experts and (choice.experts is not None or choice.bytes is not None):
        warnings.append(f"{given} is room for more than all {num_experts} experts; the cache holds them all")
    num_slots = min(num_slots, num_experts)
    if num_slots * bytes_each > left_bytes:
        warnings.append(
            f"the expert cache of {format_bytes(num_slots * bytes_each)} ({given}) is more than GPU memory leaves for "
            f"it, {format_bytes(left_bytes)}; the run assumes that it fits"
        )
    all_bytes = num_experts * bytes_each
    host_bytes = int(inputs.profile.host.memory.value)
    if all_bytes > host_bytes:
        warnings.append(
            f"all experts take {format_bytes(all_bytes)}, more than the host's memory of {format_bytes(host_bytes)}; "
            "the run assumes that they fit"
        )
    return num_slots, warnings


def _output_tokens(loop: ClosedLoop) -> int:
    """Count the output tokens of a run: one for each prefill and each decoded token."""
    trace = loop.trace
    sequences = list(loop.sequences)
    lengths = (trace.sequence_start[1:] - trace.sequence_start[:-1])[sequences]
    prompts = trace.prompt_tokens[sequences]
    total = int((lengths - prompts + (prompts > 0)).sum())
    return total if loop.max_tokens is None else min(total, loop.max_tokens)


def _warnings(scenario: Scenario, inputs: _Inputs, view: RunView, collector: Collector) -> list[str]:
    warnings = []
    if view.future is not None:
        warnings.append("a policy of this run knows the future (an oracle): a bound, not a system")
    if scenario.batch > len(inputs.loop.sequences):
        warnings.append(
            f"batch is {scenario.batch}, but the run has {len(inputs.loop.sequences)} sequences; the batch is never full"
        )
    if not collector.itl.is_exact:
        warnings.append("percentiles of more than a million latencies are within 0.1 %")
    if inputs.profile.link.host_memory == "pageable":
        warnings.append("host memory is pageable: copies block the CPU thread, which is not modelled")
    if inputs.model.unverified:
        warnings.append(f"figures of {inputs.model.name} not verified: {'; '.join(inputs.model.unverified)}")
    return warnings


def _assumptions(inputs: _Inputs, *, cache_pins: bool, start: str) -> list[str]:
    """List what the result rests on and nobody has measured."""
    listed = [f"{path} = {describe(figure)} ({figure.source})" for path, figure in assumed_figures(inputs.profile)]
    if cache_pins or start == "popular":
        listed.append("popular experts are known beforehand: popularity is counted on the very sequences of the run")
    return listed
