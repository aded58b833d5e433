"""How many experts the cache holds: as the scenario asks, or as GPU memory leaves.

Staging slots and low-precision copies are part of that capacity.
"""

from dataclasses import replace

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import Dimension, format_bytes, parse_quantity
from simulator.inputs import Inputs
from simulator.lay_out import CacheSize, smallest_cache
from simulator.memory import MemoryBudget, memory_budget
from simulator.model.footprint import expert_bytes
from simulator.scenario import Scenario, share_of
from simulator.serving.choice import SchedulerChoice


def budget_of(scenario: Scenario, inputs: Inputs) -> MemoryBudget:
    """Divide the GPU's memory for the longest sequence and the largest step of the run."""
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
        batch=min(scenario.batch, len(sequences)),
        longest_context=int(lengths[sequences].max()),
        largest_step_tokens=max(longest_prefill, scenario.batch),
    )


def budget_of_service(scenario: Scenario, inputs: Inputs, source: str) -> MemoryBudget:
    """Divide the GPU's memory for the largest step of a service; its KV cache is what the scenario asks for, or nothing.

    Raises InputError where nothing says how experts and KV cache divide what is left.
    """
    choice = scenario.scheduler or SchedulerChoice()
    cache = scenario.cache
    is_sized = any(size is not None for size in (cache.experts, cache.bytes, cache.frac, choice.kv_cache))
    if choice.memory == "fixed" and not is_sized:
        raise InputError(
            source,
            "cache: neither its size nor scheduler.kv_cache is given, so nothing says how experts and KV cache divide the "
            "GPU's memory; give one, or scheduler.memory: dynamic",
        )
    budget = memory_budget(
        inputs.model,
        inputs.profile,
        inputs.kv_cache,
        batch=choice.max_batch,
        longest_context=0,
        largest_step_tokens=max(choice.max_step_tokens, choice.max_batch),
    )
    kv_bytes = 0 if choice.kv_cache is None else int(parse_quantity(choice.kv_cache, Dimension.BYTES))
    left_bytes = budget.expert_cache_bytes + budget.kv_cache_bytes - kv_bytes
    return replace(budget, kv_cache_bytes=kv_bytes, expert_cache_bytes=left_bytes)


def cache_size(scenario: Scenario, inputs: Inputs, budget: MemoryBudget, source: str) -> tuple[CacheSize, list[str]]:
    """Return the cache's capacity in slots, and what there is to warn of.

    Raises InputError, saying by how much, if it is too small for one layer's working set of one token.
    """
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
    num_low = _low_slots(scenario, inputs, num_slots * bytes_each)
    low_bytes = num_low * low_expert_bytes(scenario, inputs)
    given += f", less {choice.staging} for staging" if choice.staging else ""
    given += f", less {format_bytes(low_bytes)} for low-precision copies" if num_low else ""
    num_reserved = choice.staging + -(-low_bytes // bytes_each)
    smallest = smallest_cache(num_banks=trace.num_banks, top_k=trace.top_k, scope=choice.scope)
    if num_slots - num_reserved < smallest:
        num_left = max(0, num_slots - num_reserved)
        raise InputError(
            source,
            f"cache: {given} holds {num_left} experts of {format_bytes(bytes_each)}; a run needs {smallest} "
            f"(top-{trace.top_k}"
            + (f", and one for each of {trace.num_banks} banks" if choice.scope == "per_layer" else "")
            + f"): {format_bytes((smallest - num_left) * bytes_each)} more",
        )
    warnings = []
    if choice.scope == "per_layer" and num_slots - num_reserved < trace.top_k * trace.num_banks:
        warnings.append(
            f"{num_slots - num_reserved} slots for {trace.num_banks} banks are fewer than one token's experts in each "
            f"(top-{trace.top_k}): they are fetched in waves"
        )
    if num_slots > num_experts and (choice.experts is not None or choice.bytes is not None):
        warnings.append(f"{given} is room for more than all {num_experts} experts; the cache holds them all")
    num_slots = min(num_slots - num_reserved, num_experts) + num_reserved
    if num_slots * bytes_each > left_bytes:
        warnings.append(
            f"the expert cache of {format_bytes(num_slots * bytes_each)} ({given}) is more than GPU memory leaves for "
            f"it, {format_bytes(left_bytes)}; the run assumes that it fits"
        )
    all_bytes = num_experts * bytes_each
    host_bytes = int(inputs.profile.host.memory.value)
    if all_bytes > host_bytes and scenario.host_cache is None:
        warnings.append(
            f"all experts take {format_bytes(all_bytes)}, more than the host's memory of {format_bytes(host_bytes)}; "
            "the run assumes that they fit; with host_cache, what host memory does not hold is read from NVMe"
        )
    return CacheSize(experts=num_slots - num_reserved, staging=choice.staging, low=num_low), warnings


def low_expert_bytes(scenario: Scenario, inputs: Inputs) -> int:
    """Return the bytes of an expert's low-precision copy; 0 where there are none."""
    choice = scenario.low_precision
    if choice is None:
        return 0
    return expert_bytes(replace(inputs.model, expert_quantisation=choice.format))


def _low_slots(scenario: Scenario, inputs: Inputs, capacity_bytes: int) -> int:
    """Count the slots for low-precision copies in a cache of some bytes, at most one for each expert."""
    choice = scenario.low_precision
    if choice is None or choice.frac is None:
        return 0
    num_experts = inputs.trace.num_banks * inputs.trace.num_experts
    return min(num_experts, share_of(choice.frac, capacity_bytes) // low_expert_bytes(scenario, inputs))
