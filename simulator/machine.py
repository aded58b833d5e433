"""The machine of a run: its links and the CPU's workers, which share host memory where that can be short."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.costs.protocol import Costs
from simulator.cpu_experts import CpuExperts
from simulator.resources.clock import Clock
from simulator.resources.cpu_pool import CpuPool, PooledJob
from simulator.resources.host_memory import HostMemory
from simulator.resources.link import Link
from simulator.resources.shared_link import SharedLink
from simulator.resources.transfers import Transfer
from simulator.resources.write_back import WriteBack
from simulator.timeline import Timeline

_H2D_RANK, _D2H_RANK, _FIRST_CPU_RANK = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What experts move over and are computed by, beside the GPU. `write_back` is None where nothing is copied back."""

    link: Link
    write_back: WriteBack | None
    cpu: CpuExperts


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
) -> Machine:
    """Make the machine that the costs are of; keys from `num_keys` on are low-precision copies, from twice that KV cache.

    Its link delivers to nobody as yet. `kv_in_ns`, where KV cache comes over it, says how long what comes next takes.
    """
    demands = costs.memory_demands if shares_memory else None
    memory = HostMemory(env, demands.bandwidth) if demands is not None else None
    ends_ns, low_ends_ns = costs.chunk_ends_ns, costs.low_chunk_ends_ns
    chunk_ends_of: Callable[[int], Sequence[int]] | None = None
    if kv_in_ns is not None:

        def chunk_ends_of(key: int) -> Sequence[int]:
            return ends_ns if key < num_keys else low_ends_ns if key < 2 * num_keys else kv_in_ns()

    elif low_ends_ns:

        def chunk_ends_of(key: int) -> Sequence[int]:
            return ends_ns if key < num_keys else low_ends_ns

    on_service = timeline.transfer if timeline is not None else None
    if memory is None or demands is None:
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
            demand_of=lambda key: demands.low_h2d if num_keys <= key < 2 * num_keys else demands.h2d,
            chunk_ends_ns=ends_ns,
            chunk_ends_of=chunk_ends_of,
            deliver=_nobody,
            on_service=on_service,
            keeps_stretches=keeps_stretches,
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
        )

    def job_timed(job: PooledJob) -> None:
        assert timeline is not None
        timeline.cpu_expert(job.layer, job.key, job.worker, job.start_ns, job.end_ns - job.start_ns)

    pool = CpuPool(
        env,
        costs.num_cpu_workers,
        memory=memory,
        first_rank=_FIRST_CPU_RANK,
        on_job=job_timed if timeline is not None else None,
    )
    return Machine(link=link, write_back=write_back, cpu=CpuExperts(pool, costs, demands))


def _nobody(transfer: Transfer) -> None:
    raise AssertionError(f"expert {transfer.key} arrived before anyone asked")
