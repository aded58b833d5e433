"""What is not carried out on several GPUs is refused, all at once."""

from collections.abc import Iterator

from hardware_profiles.errors import InputError
from simulator.inputs import Inputs
from simulator.scenario import Scenario

_PLACEMENTS = ("none", "popular", "pinned_popular", "frequency")
_ONLY = {"miss": ("fetch",), "slots": ("equal",), "placement": _PLACEMENTS}


def refuse(scenario: Scenario, inputs: Inputs, source: str) -> None:
    """Raise InputError for what several GPUs do not carry out."""
    faults = list(_faults(scenario, inputs))
    if faults:
        raise InputError(source, faults)


def _faults(scenario: Scenario, inputs: Inputs) -> Iterator[str]:
    choice, num_experts = scenario.gpus, inputs.trace.num_experts
    assert choice is not None
    several = f"on {choice.count} GPUs"
    for kind, known in _ONLY.items():
        name = inputs.policies[kind].name
        if name not in known:
            yield f"{kind}: {name} is not carried out {several}; use {' or '.join(known)}, or gpus.count: 1"
    if choice.experts != "shared" and choice.count > num_experts:
        yield f"gpus.count: {choice.count} is more than the {num_experts} experts of a layer; use fewer"
    if choice.experts == "replicated" and not 1 <= choice.replicas <= num_experts:
        yield (
            f"gpus.replicas: {choice.replicas} of a layer's {num_experts} experts on every GPU; write 1 to {num_experts}, "
            "or gpus.experts: partitioned"
        )
    if choice.experts != "replicated" and choice.replicas:
        yield f"gpus.replicas: is for gpus.experts: replicated, and that is {choice.experts}; leave it out"
    if scenario.low_precision is not None:
        yield f"low_precision: there are no low-precision copies {several}; leave it out"
    if scenario.host_cache is not None:
        yield f"host_cache: host memory holds all experts {several}; leave it out"
    if scenario.tiles is not None:
        yield f"tiles: experts are not divided {several}; leave them out"
    if scenario.cache.write_back:
        yield f"cache.write_back: nothing is copied back {several}; leave it out"
    if inputs.profile.link.host_memory == "pageable":
        yield f"link.host_memory: is pageable, and copies to several GPUs are from pinned memory; use pinned {several}"
    if scenario.scheduler is not None and scenario.scheduler.memory == "dynamic":
        yield f"scheduler.memory: experts and KV cache do not share memory {several}; use fixed"
    if scenario.scheduler is not None and scenario.scheduler.preemption == "swap":
        yield f"scheduler.preemption: KV cache is not swapped {several}; use recompute"
