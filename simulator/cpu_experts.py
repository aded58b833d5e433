"""The experts that the CPU computes in a run: begun at a gate, waited for at the end of this layer or the next.

awaited = begin(layer, keys, deferred, early, tokens_of)
busy_ns = yield from join(stream, layer, awaited)

Limits: what stream and workers take from each other (`runtime.slowed_by_cpu_experts`) the stream loses when it has
waited for them, so no job ends later for it; it is one share for any number of tokens; jobs that were deferred or begun
early are held against the kernels of the layer that waits for them, not against what the stream did while they ran.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import simpy

from simulator.costs.protocol import Costs, MemoryDemands
from simulator.host_tier import HostTier
from simulator.resources.cpu_pool import CpuPool, PooledJob, last_end_ns
from simulator.stream import GpuStream


@dataclass(frozen=True, slots=True)
class OnCpu:
    """Experts that the CPU computes together, and the way of their activations."""

    jobs: Sequence[PooledJob]
    activation_ns: int


class CpuExperts:
    """Give experts to a pool of workers, and keep what has been begun before it is asked for.

    With a `host`, whose memory does not hold all experts, each is queued when it is there; it hears of the ends of jobs.
    """

    def __init__(
        self, pool: CpuPool, costs: Costs, demands: MemoryDemands | None, host: HostTier | None = None
    ) -> None:
        self._pool = pool
        self._host = host
        self._costs = costs
        self._demands = demands
        self._early: dict[int, OnCpu] = {}  # what was begun before the gate asked
        self._deferred: list[OnCpu] = []  # what the layer before deferred

    def is_busy(self) -> bool:
        """Tell whether anything has been begun that no layer has waited for yet."""
        return bool(self._early or self._deferred)

    def begin(
        self,
        layer: int,
        keys: Sequence[int],
        deferred: Sequence[int],
        early: Mapping[int, int],
        tokens_of: Mapping[int, int] | None,
    ) -> list[OnCpu]:
        """Begin experts in order: `keys`, the deferred, the early (with their tokens); return what this layer waits for."""
        begun, self._early = self._early, {}
        awaited = self._deferred + [begun[key] for key in keys if key in begun]
        fresh = [key for key in keys if key not in begun]
        if fresh:
            awaited.append(self._queue(layer, fresh, tokens_of))
        self._deferred = [begun[key] for key in deferred if key in begun]
        fresh = [key for key in deferred if key not in begun]
        if fresh:
            self._deferred.append(self._queue(layer, fresh, tokens_of))
        for key in early:
            self._early[key] = self._queue(layer + 1, [key], early)
        return awaited

    def join(self, stream: GpuStream, layer: int, awaited: Sequence[OnCpu]) -> Generator[simpy.Event, None, int]:
        """Have the stream wait for what the CPU computes, and return for how long a worker computed it, on average."""
        jobs = [job for group in awaited for job in group.jobs]
        ended = self._pool.ended(jobs)
        if ended is not None:
            yield ended
        stream.stall_for_cpu(layer, max(last_end_ns(group.jobs) + group.activation_ns for group in awaited))
        return sum(job.end_ns - job.start_ns for job in jobs) // self._pool.num_workers

    def busy_ns(self) -> int:
        """Return for how long workers have been computing, up to now, added up."""
        return self._pool.busy_ns()

    def _queue(self, layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> OnCpu:
        jobs, num_rows = [], 0
        for key in keys:
            num_tokens = 1 if tokens_of is None else tokens_of[key]
            num_rows += num_tokens
            duration_ns = self._costs.cpu_expert_ns(num_tokens)
            demand = self._demands.cpu_expert(duration_ns) if self._demands is not None else 1
            if self._host is None:
                jobs.append(self._pool.queue(key, duration_ns, demand, layer=layer))
            else:  # it is queued when its expert is in host memory
                jobs.append(PooledJob(key, layer, duration_ns, demand))
                self._host.need(key, partial(self._pool.submit, jobs[-1]))
        return OnCpu(jobs, self._costs.activation_ns(num_rows))
