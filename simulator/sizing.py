"""How many experts the cache holds: as the scenario asks, or as GPU memory leaves."""

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import Dimension, format_bytes, parse_quantity
from simulator.inputs import Inputs
from simulator.memory import MemoryBudget, memory_budget
from simulator.model.footprint import expert_bytes
from simulator.lay_out import smallest_cache
from simulator.scenario import Scenario, share_of


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


def cache_slots(scenario: Scenario, inputs: Inputs, budget: MemoryBudget, source: str) -> tuple[int, list[str]]:
    """Return the cache's capacity in experts, and what there is to warn of.

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
