"""What a scenario names, found and put together: trace, model, machine, workload, policies."""

import filecmp
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile
from hardware_profiles.profile import HardwareProfile
from simulator.model.load import load_model
from simulator.model.quantisation import Quantisation, parse_quantisation
from simulator.model.spec import ModelSpec, moe_layers
from simulator.policy import build_batching, composed_policies
from simulator.scenario import PolicyChoice, Scenario
from simulator.training import Training
from simulator.workload.closed_loop import ClosedLoop
from traces.format import Trace, open_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A scenario's names resolved. `model` is in the formats that the scenario asks for.

    `make_training` gives what policies may learn from, None where the scenario sets nothing apart.
    """

    trace: Trace
    model: ModelSpec
    kv_cache: Quantisation
    profile: HardwareProfile
    loop: ClosedLoop
    policies: Mapping[str, PolicyChoice]
    make_training: Callable[[], Training] | None


def resolve_inputs(scenario: Scenario, source: str, *, opened: Callable[[str | Path], Trace] = open_trace) -> Inputs:
    """Find what a scenario names. Raises InputError and TraceError for what is not there or does not fit.

    `opened` returns a trace by its path; one that is open already may serve several runs.
    """
    trace = opened(scenario.trace)
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
    sequences, make_training = _divided(scenario, trace, source, opened)
    policies = composed_policies(scenario)
    loop = ClosedLoop(
        trace=trace,
        sequences=sequences,
        batch=scenario.batch,
        prefill_chunk_tokens=scenario.prefill_chunk_tokens,
        max_tokens=scenario.max_tokens,
        batching=build_batching(policies["batching"], source),
    )
    return Inputs(
        trace=trace,
        model=model,
        kv_cache=kv_cache,
        profile=profile,
        loop=loop,
        policies=policies,
        make_training=make_training,
    )


def _divided(
    scenario: Scenario, trace: Trace, source: str, opened: Callable[[str | Path], Trace]
) -> tuple[range, Callable[[], Training] | None]:
    """Return the sequences that are run, and what gives those that policies learn from. Raises InputError.

    No sequence is both: what is learned is judged on others.
    """
    fit = scenario.fit
    make_training, first = None, 0
    if fit is not None and fit.sequences is not None:
        first = fit.sequences
        if first >= trace.num_sequences:
            raise InputError(
                source,
                f"fit.sequences: {first} leaves none of the {trace.num_sequences} sequences of {trace.path} to run; name "
                "fewer",
            )
        make_training = partial(Training, trace, range(first))
    elif fit is not None and fit.trace is not None:
        other = opened(fit.trace)
        if _is_same(Path(fit.trace), Path(scenario.trace)):
            raise InputError(
                source,
                f"fit.trace: {fit.trace} is the trace that is run; policies learn from other sequences: name another, or "
                "set some of these apart with fit.sequences",
            )
        other.require_model(
            num_layers=trace.num_layers, num_experts=trace.num_experts, top_k=trace.top_k, model=str(trace.path)
        )
        make_training = partial(Training, other, range(other.num_sequences))
    apart = f", {first} of them set apart for fitting" if first else ""
    first += scenario.skip_sequences
    apart += f", {scenario.skip_sequences} skipped" if scenario.skip_sequences else ""
    num_left = trace.num_sequences - first
    if num_left < 1:
        raise InputError(
            source,
            f"skip_sequences: {scenario.skip_sequences} leaves nothing to run; {trace.path} has {trace.num_sequences} "
            f"sequences{apart}; name fewer",
        )
    if scenario.sequences is not None and scenario.sequences > num_left:
        raise InputError(
            source,
            f"sequences: {scenario.sequences} asked for, but {trace.path} has {trace.num_sequences}{apart}; name fewer",
        )
    return range(first, first + (num_left if scenario.sequences is None else scenario.sequences)), make_training


def _is_same(one: Path, other: Path) -> bool:
    """Tell whether two traces are the same, by place or by content."""
    if one.resolve() == other.resolve():
        return True
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
