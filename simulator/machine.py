"""The machine of a run: its links, NVMe and the CPU's workers, which share host memory where that can be short."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.costs.protocol import Costs, MemoryDemands
from simulator.cpu_experts import CpuExperts
from simulator.host_cache import HostCache
from simulator.host_tier import HostTier
from simulator.resources.clock import Clock
from simulator.resources.cpu_pool import CpuPool, Flows, PooledJob
from simulator.resources.host_memory import HostMemory
from simulator.resources.link import Link
from simulator.resources.nvme import Nvme
from simulator.resources.shared_link import SharedLink
from simulator.resources.transfers import Transfer
from simulator.resources.write_back import WriteBack
from simulator.slowed_work import SlowedWork
from simulator.timeline import Timeline

_H2D_RANK, _D2H_RANK, _FIRST_CPU_RANK, _NVME_RANK = 0, 1, 2, 1 << 40
_NEVER_SHORT = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What experts move over and are computed by, beside the GPU. `write_back` is None where nothing is copied back.

    `channel` is where fetches go: the link, or the `host` above NVMe where host memory does not hold all experts.
    """

    link: Link
    write_back: WriteBack | None
    cpu: CpuExperts
    host: HostTier | None = None

    @property
    def channel(self) -> Link | HostTier:
        """Where fetches go."""
        return self.link if self.host is None else self.host


def make_machine(
    env: Clock,
    costs: Costs,
    *,
    num_keys: int,
    timeline: Timeline | None,
    shares_memory: bool,
    writes_back: bool,
    keeps_stretches: bool,
    kv_in_ns: Callable[[], Sequence[int]] | None = None,
    host: HostCache | None = None,
) -> Machine:
    """Make the machine that the costs are of; keys from `num_keys` on are low-precision copies, from twice that KV cache.

    Its channel delivers to nobody as yet. `kv_in_ns`, where KV cache comes over it, says how long what comes next takes.
    """
    demands = costs.memory_demands if shares_memory else None
    memory = HostMemory(env, demands.bandwidth) if demands is not None else None
    if host is not None and memory is None:
        memory = HostMemory(env, _NEVER_SHORT)
    ends_ns, low_ends_ns = costs.chunk_ends_ns, costs.low_chunk_ends_ns
    chunk_ends_of: Callable[[int], Sequence[int]] | None = None
    if kv_in_ns is not None:

        def chunk_ends_of(key: int) -> Sequence[int]:
            return ends_ns if key < num_keys else low_ends_ns if key < 2 * num_keys else kv_in_ns()

    elif low_ends_ns:

        def chunk_ends_of(key: int) -> Sequence[int]:
            return ends_ns if key < num_keys else low_ends_ns

    on_service = timeline.transfer if timeline is not None else None
    if memory is None:
        link = Link(
            env,
            chunk_ends_ns=ends_ns,
            chunk_ends_of=chunk_ends_of,
            deliver=_nobody,
            on_service=on_service,
            keeps_stretches=keeps_stretches,
        )
    else:
        link = SharedLink(
            env,
            memory=memory,
            rank=_H2D_RANK,
            demand_of=_h2d_demand_of(demands, num_keys),
            chunk_ends_ns=ends_ns,
            chunk_ends_of=chunk_ends_of,
            deliver=_nobody,
            on_service=on_service,
            keeps_stretches=keeps_stretches,
        )
    tier = None
    if host is not None and memory is not None:
        tier = HostTier(host, num_keys=num_keys, link=link)
        tier.nvme = Nvme(
            env,
            memory=memory,
            rank=_NVME_RANK,
            demand=demands.nvme if demands is not None else 1,
            chunk_ends_ns=costs.read_chunk_ends_ns,
            take_slot=tier.take_slot,
            deliver=tier.has_read,
            on_service=timeline.read if timeline is not None else None,
        )
    write_back = None
    if writes_back:
        write_back = WriteBack(
            env,
            transfer_ns=costs.write_back_ns,
            num_bytes=0,
            memory=memory,
            rank=_D2H_RANK,
            demand=demands.d2h if demands is not None else 1,
            on_service=timeline.write_back if timeline is not None else None,
            on_copied=tier.copied_back if tier is not None else None,
        )
    if tier is not None:
        tier.write_back = write_back

    def job_timed(job: PooledJob) -> None:
        if timeline is not None:
            timeline.cpu_expert(job.layer, job.key, job.worker, job.start_ns, job.end_ns - job.start_ns)
        if tier is not None:
            tier.release(job.key)

    jobs: Flows | None = memory
    if costs.cpu_slowed_ppm:
        jobs = SlowedWork(memory or HostMemory(env, _NEVER_SHORT), link.busy_ns, ppm=costs.cpu_slowed_ppm)
    pool = CpuPool(
        env,
        costs.num_cpu_workers,
        memory=jobs,
        first_rank=_FIRST_CPU_RANK,
        on_job=job_timed if timeline is not None or tier is not None else None,
    )
    return Machine(link=link, write_back=write_back, cpu=CpuExperts(pool, costs, demands, tier), host=tier)


def _h2d_demand_of(demands: MemoryDemands | None, num_keys: int) -> Callable[[int], int]:
    """Return what gives the demand of a transfer to the GPU."""
    if demands is None:
        return lambda _: 1
    return lambda key: demands.low_h2d if num_keys <= key < 2 * num_keys else demands.h2d


def _nobody(transfer: Transfer) -> None:
    raise AssertionError(f"expert {transfer.key} arrived before anyone asked")
