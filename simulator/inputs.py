"""What a scenario names, found and put together: trace, model, machine, workload, policies."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile
from hardware_profiles.profile import HardwareProfile
from simulator.model.load import load_model
from simulator.model.quantisation import Quantisation, parse_quantisation
from simulator.model.spec import ModelSpec, moe_layers
from simulator.policy import composed_policies
from simulator.scenario import PolicyChoice, Scenario
from simulator.workload.closed_loop import ClosedLoop
from traces.format import Trace, open_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A scenario's names resolved. `model` is in the formats that the scenario asks for."""

    trace: Trace
    model: ModelSpec
    kv_cache: Quantisation
    profile: HardwareProfile
    loop: ClosedLoop
    policies: Mapping[str, PolicyChoice]


def resolve_inputs(scenario: Scenario, source: str) -> Inputs:
    """Find what a scenario names. Raises InputError and TraceError for what is not there or does not fit."""
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
    return Inputs(trace=trace, model=model, kv_cache=kv_cache, profile=profile, loop=loop, policies=policies)
