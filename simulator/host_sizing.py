"""How many experts host memory holds, where it does not hold all: as the scenario asks, or as host memory leaves.

    capacity - reserve - room for swapped KV cache - low-precision copies = bytes for experts

Limits: what the reserve of a profile does not say, such as an operating system's own use, is not counted; KV cache that is
swapped out may take as much room as the GPU has for KV cache; weights of the rest of the model are on the GPU alone.
"""

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import Dimension, format_bytes, parse_quantity
from simulator.inputs import Inputs
from simulator.lay_out import CacheSize
from simulator.memory import MemoryBudget
from simulator.model.footprint import expert_bytes
from simulator.scenario import HostCacheChoice, Scenario, share_of
from simulator.serving.choice import SchedulerChoice
from simulator.sizing import low_expert_bytes

_FEWEST = 2  # a demand may overtake a read that has its slot already


def host_cache_size(
    choice: HostCacheChoice, scenario: Scenario, inputs: Inputs, budget: MemoryBudget, size: CacheSize, source: str
) -> tuple[int, list[str]]:
    """Return the slots of host memory, and what there is to warn of.

    Raises InputError, saying by how much, where they do not fit into host memory, or all experts not onto NVMe.
    """
    trace, profile = inputs.trace, inputs.profile
    bytes_each, num_experts = expert_bytes(inputs.model), trace.num_banks * trace.num_experts
    storage = profile.nvme.capacity
    if storage is not None and num_experts * bytes_each > storage.value:
        raise InputError(
            source,
            f"host_cache: all experts take {format_bytes(num_experts * bytes_each)}, "
            f"{format_bytes(num_experts * bytes_each - int(storage.value))} more than the machine's nvme.capacity of "
            f"{format_bytes(int(storage.value))}; give --set nvme.capacity, or fewer bits (quantisation.experts)",
        )
    uses = _other_uses(scenario, inputs, budget, size)
    left_bytes = int(profile.host.memory.value) - sum(uses.values())
    beside = "".join(f", less {format_bytes(num_bytes)} for {use}" for use, num_bytes in uses.items())
    leaves = f"host.memory of {format_bytes(int(profile.host.memory.value))}{beside}"
    if choice.experts is not None:
        num_slots, given = choice.experts, f"host_cache.experts = {choice.experts}"
    elif choice.bytes is not None:
        num_slots = int(parse_quantity(choice.bytes, Dimension.BYTES)) // bytes_each
        given = f"host_cache.bytes = {choice.bytes}"
    elif choice.frac is not None:
        num_slots, given = share_of(choice.frac, num_experts), f"host_cache.frac = {choice.frac}"
    else:
        num_slots, given = max(0, left_bytes) // bytes_each, f"what host memory leaves, {leaves},"
    if num_slots < _FEWEST:
        raise InputError(
            source,
            f"host_cache: {given} holds {num_slots} experts of {format_bytes(bytes_each)}; a run needs {_FEWEST}: "
            f"{format_bytes((_FEWEST - num_slots) * bytes_each)} more",
        )
    warnings = []
    if num_slots > num_experts:
        if choice.experts is not None or choice.bytes is not None:
            warnings.append(f"{given} is room for more than all {num_experts} experts; host memory holds them all")
        num_slots = num_experts
    if num_slots * bytes_each > left_bytes:
        raise InputError(
            source,
            f"host_cache: {given} takes {format_bytes(num_slots * bytes_each)}, "
            f"{format_bytes(num_slots * bytes_each - left_bytes)} more than there is: {leaves}; make it smaller, or give "
            "--set host.memory",
        )
    return num_slots, warnings


def _other_uses(scenario: Scenario, inputs: Inputs, budget: MemoryBudget, size: CacheSize) -> dict[str, int]:
    """Return the bytes of host memory that are not for experts, by their use."""
    reserve = inputs.profile.host.memory_reserve
    num_experts = inputs.trace.num_banks * inputs.trace.num_experts
    uses = {
        "the reserve": 0 if reserve is None else int(reserve.value),
        "low-precision copies": num_experts * low_expert_bytes(scenario, inputs),
        "swapped KV cache": _swap_bytes(scenario, inputs, budget, size),
    }
    return {use: num_bytes for use, num_bytes in uses.items() if num_bytes}


def _swap_bytes(scenario: Scenario, inputs: Inputs, budget: MemoryBudget, size: CacheSize) -> int:
    """Return as much as the GPU may have of KV cache, where that is swapped out to the host."""
    choice = scenario.scheduler or SchedulerChoice()
    if scenario.workload is None or choice.preemption != "swap":
        return 0
    if choice.memory == "fixed" and choice.kv_cache is not None:
        return budget.kv_cache_bytes
    left_bytes = budget.kv_cache_bytes + budget.expert_cache_bytes
    if choice.memory == "fixed":
        left_bytes -= (size.experts + size.staging) * expert_bytes(inputs.model)
        left_bytes -= size.low * low_expert_bytes(scenario, inputs)
    return max(0, left_bytes)
