"""The machine of several GPUs: a link to each from host memory, which share what lies before them, max-min fair.

Limits: those of simulator/resources/host_memory.py; copies back to the host, CPU experts and NVMe are not there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.cache import ExpertCache
from simulator.costs.protocol import Costs
from simulator.cpu_experts import CpuExperts
from simulator.gpus.peers import Sources, Upstream
from simulator.machine import Machine
from simulator.resources.clock import Clock
from simulator.resources.cpu_pool import CpuPool
from simulator.resources.host_memory import HostMemory, is_ever_short
from simulator.resources.link import Link
from simulator.resources.shared_link import SharedLink
from simulator.resources.transfers import Transfer
from simulator.timeline import Timeline

_FROM_PEER = 1
"""The demand of a copy from another GPU on what comes from the host, in bytes/s: the least that a flow can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMachine:
    """What one GPU has; `sources` is None where experts come from the host alone."""

    machine: Machine
    sources: Sources | None


def make_machines(
    env: Clock,
    costs: Costs,
    caches: Sequence[ExpertCache],
    *,
    upstream: Upstream | None,
    peer_ends_ns: Sequence[int] | None,
    timelines: Sequence[Timeline | None],
) -> list[GpuMachine]:
    """Make the machine of each GPU; `peer_ends_ns` are the times of a copy from another GPU, None where there is none."""
    if upstream is not None and not is_ever_short(upstream.bandwidth, [upstream.demand] * len(caches)):
        upstream = None
    memory = HostMemory(env, upstream.bandwidth) if upstream is not None else None
    found: list[GpuMachine] = []
    for gpu, timeline in enumerate(timelines):
        sources = None
        if peer_ends_ns is not None:
            sources = Sources(
                host_ends_ns=costs.chunk_ends_ns,
                peer_ends_ns=peer_ends_ns,
                upstream=upstream,
                peers=_others(caches, gpu),
                flows=_flows(found, gpu),
            )
        link = _make_link(env, costs, sources, memory, upstream, gpu, timeline)
        if sources is not None:
            sources.link = link
        cpu = CpuExperts(CpuPool(env, costs.num_cpu_workers), costs, None)
        found.append(GpuMachine(machine=Machine(link=link, write_back=None, cpu=cpu), sources=sources))
    return found


def _make_link(
    env: Clock,
    costs: Costs,
    sources: Sources | None,
    memory: HostMemory | None,
    upstream: Upstream | None,
    gpu: int,
    timeline: Timeline | None,
) -> Link:
    ends_ns, chunk_ends_of = costs.chunk_ends_ns, sources.chunk_ends_ns if sources is not None else None
    on_service = timeline.transfer if timeline is not None else None
    if memory is None or upstream is None:
        return Link(env, chunk_ends_ns=ends_ns, chunk_ends_of=chunk_ends_of, deliver=_nobody, on_service=on_service)
    demand = upstream.demand

    def demand_of(key: int) -> int:
        return _FROM_PEER if sources is not None and sources.is_from_peer(key) else demand

    return SharedLink(
        env,
        memory=memory,
        rank=gpu,
        demand_of=demand_of,
        chunk_ends_ns=ends_ns,
        chunk_ends_of=chunk_ends_of,
        deliver=_nobody,
        on_service=on_service,
    )


def _others(caches: Sequence[ExpertCache], gpu: int) -> Callable[[], Sequence[ExpertCache]]:
    others = [cache for at, cache in enumerate(caches) if at != gpu]
    return lambda: others


def _flows(machines: Sequence[GpuMachine], gpu: int) -> Callable[[], int]:
    def flows() -> int:
        all_sources = [one.sources for at, one in enumerate(machines) if at != gpu]
        return sum(sources is not None and sources.is_host_flow() for sources in all_sources)

    return flows


def _nobody(transfer: Transfer) -> None:
    raise AssertionError(f"expert {transfer.key} arrived before anyone asked")
