"""A service of one layer whose steps take as long as a test says, all experts resident but for the first moment."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NoReturn

import numpy as np

from simulator.cache import ExpertCache
from simulator.costs.protocol import StepCosts
from simulator.dispatch import Policies
from simulator.engine import Engine
from simulator.estimates import CostEstimates
from simulator.eviction import EVICTION
from simulator.lay_out import CacheSize, lay_out_cache
from simulator.metrics.goodput import Slo
from simulator.miss import MISS
from simulator.placement import PLACEMENT
from simulator.resources.clock import Clock
from simulator.run_view import RunFacts, RunView
from simulator.serving.feed import Feed, OpenFeed
from simulator.serving.intake import Intake, Requests
from simulator.serving.kv_pages import KvPages
from simulator.serving.limits import Limits
from simulator.serving.memory import KvMemory
from simulator.serving.record import Readings, Record
from simulator.serving.scheduler import Scheduler, Sees
from simulator.serving.scheduling import SCHEDULING
from simulator.serving.served import Served
from simulator.serving.stop import Bounds, Stop
from simulator.slots import SLOTS
from simulator.workload.arrivals import Arrival
from simulator.workload.routing import Routing, Rows
from simulator.workload.step import Step, Wait
from traces.format import Sequences, Trace, TraceMetadata, open_trace, write_trace

NUM_EXPERTS = 4


class PlainPages(KvPages):
    """Pages of so many tokens, a byte for each token."""

    def __init__(self, page_tokens: int) -> None:
        self.page_tokens = page_tokens
        self.state_bytes = 0
        self._kinds = [(None, page_tokens)]
        self._known = [0]


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """A step takes `base_ns` and `token_ns` for each token; experts cost nothing, and their transfers next to nothing."""

    base_ns: int = 0
    token_ns: int = 0
    copy_byte_ns: int = 1
    chunk_ends_ns: Sequence[int] = (1,)
    low_chunk_ends_ns: Sequence[int] = ()
    read_chunk_ends_ns: Sequence[int] = ()
    write_back_ns: int = 0
    kernels_are_grouped: bool = False
    stall_overhead_ns: int = 0
    cpu_join_overhead_ns: int = 0
    beside_cpu_ppm: int = 0
    lookahead_ns: int = 0
    slowed_ppm: int = 0
    cpu_slowed_ppm: int = 0
    num_cpu_workers: int = 1
    memory_demands: None = None

    def expert_ns(self, num_tokens: int) -> int:
        """Nothing."""
        del num_tokens
        return 0

    def low_expert_ns(self, num_tokens: int) -> int:
        """There are none."""
        raise AssertionError(num_tokens)

    def group_ns(self, num_tokens: Sequence[int]) -> int:
        """There are none."""
        raise AssertionError(num_tokens)

    def cpu_expert_ns(self, num_tokens: int) -> int:
        """There are none."""
        raise AssertionError(num_tokens)

    def activation_ns(self, num_tokens: int) -> int:
        """There are none."""
        raise AssertionError(num_tokens)

    def step(self, step: Step) -> StepCosts:
        """Return the whole of a step as the work before its gate."""
        lead_ns = self.base_ns + self.token_ns * len(step.tokens)
        return StepCosts(lead_ns=[lead_ns], lead_overhead_ns=[0], tail_ns=0, tail_overhead_ns=0)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """Arrivals as they stand."""

    requests: Sequence[Arrival]

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield them."""
        del seed
        return iter(self.requests)


@dataclass(kw_only=True)
class Outcome:
    """A machine, and what came out: the steps as (tokens, requests that emit, end in ns), the record, the engine."""

    steps: list[tuple[int, list[int], int]] = field(default_factory=list)
    record: Record
    engine: Engine
    memory: KvMemory
    scheduler: Scheduler
    cache: ExpertCache
    contexts: list[list[int]] = field(default_factory=list)


def write_plain_trace(path: Path, *, num_tokens: int = 64) -> Trace:
    """Write a trace of one layer and one sequence, each token with one expert."""
    random = Random(1)
    ids = np.array([[[random.randrange(NUM_EXPERTS)]] for _ in range(num_tokens)], np.uint8)
    write_trace(
        path,
        Sequences(
            expert_ids=ids, sequence_start=np.array([0, num_tokens], np.int64), prompt_tokens=np.zeros(1, np.int32)
        ),
        TraceMetadata(model="plain", num_experts=NUM_EXPERTS),
        overwrite=True,
    )
    return open_trace(path)


def serve(
    requests: Iterable[Arrival] | Feed,
    trace: Trace,
    *,
    costs: StepTimes,
    policy: str = "prefill_first",
    limits: Limits,
    kv_bytes: int = 1 << 40,
    page_tokens: int = 1,
    bounds: Bounds | None = None,
    slos: Mapping[str, Slo] | None = None,
) -> Outcome:
    """Run a service to its end."""
    out = make_machine(
        intake_of(requests, trace, limits),
        trace,
        costs=costs,
        policy=policy,
        limits=limits,
        kv_bytes=kv_bytes,
        page_tokens=page_tokens,
        stop=Stop(bounds or Bounds()),
        slos=slos,
    )
    out.engine.run()
    return out


def intake_of(requests: Iterable[Arrival] | Feed, trace: Trace, limits: Limits) -> Intake:
    """Return what makes requests of arrivals, each of tokens of the trace by its number."""
    return Intake(
        OpenFeed(Stated(requests=list(requests)), 0) if isinstance(requests, Iterable) else requests,
        draw=lambda request: lambda: _rows(request, trace.num_tokens),
        priorities=limits.priorities,
    )


def make_machine(
    requests: Requests,
    trace: Trace,
    *,
    costs: StepTimes,
    policy: str = "prefill_first",
    limits: Limits,
    kv_bytes: int = 1 << 40,
    page_tokens: int = 1,
    stop: Stop,
    slos: Mapping[str, Slo] | None = None,
    followed: Callable[[Iterator[Step | Wait]], Iterator[Step | Wait]] = iter,
    clock: Clock | None = None,
) -> Outcome:
    """Return a machine that is ready to run."""
    view = RunView(
        RunFacts(
            first_keys=[0],
            num_experts=NUM_EXPERTS,
            num_keys=NUM_EXPERTS,
            top_k=1,
            has_gate_weights=False,
            recorded_lookahead=0,
            stated_lookahead=None,
            stated_lookahead_by=(),
            make_future=_no_future,
            make_training=None,
            own_popularity=lambda: np.zeros(NUM_EXPERTS, np.int64),
            estimates=lambda view: CostEstimates(costs, view),
            seed=0,
        )
    )
    cache = lay_out_cache(
        view=view,
        make_eviction=lambda: EVICTION["lru"](view),
        placement=PLACEMENT["none"](view),
        split=SLOTS["equal"](view),
        size=CacheSize(experts=NUM_EXPERTS),
        scope="per_layer",
        held=view.held_keys,
    )
    memory, record = KvMemory(kv_bytes), Record(slos=slos or {})
    scheduler = Scheduler(
        requests=requests,
        scheduling=SCHEDULING[policy](max_step_tokens=limits.step_tokens),
        limits=limits,
        pages=PlainPages(page_tokens),
        memory=memory,
        routing=Routing(trace),
        record=record,
        stop=stop,
        sees=Sees(),
    )

    def step_ended(step: Step, now_ns: int) -> None:
        assert len(step.contexts) == len(step.tokens)
        out.steps.append((len(step.tokens), [request.index for request in step.emits], now_ns))
        out.contexts.append(list(step.contexts))
        assert memory.used_bytes <= memory.capacity_bytes
        scheduler.step_ended(step, now_ns)

    engine = Engine(
        steps=followed(scheduler.steps()),
        costs=costs,
        cache=cache,
        view=view,
        policies=Policies(miss=MISS["fetch"](view)),
        step_ended=step_ended,
        kv_copy_ns=lambda num_bytes, _: num_bytes * costs.copy_byte_ns,
        env=clock,
    )
    record.read_from(
        Readings(
            causes_ns=engine.causes_ns,
            h2d_busy_ns=engine.link.busy_ns,
            kv_bytes=lambda: memory.used_bytes,
            expert_slots=lambda: NUM_EXPERTS,
        )
    )
    out = Outcome(record=record, engine=engine, memory=memory, scheduler=scheduler, cache=cache)
    return out


def _rows(request: Served, num_tokens: int) -> Rows:
    return np.arange(request.index, request.index + request.total_tokens) % num_tokens


def _no_future() -> NoReturn:
    raise AssertionError("nobody asks")
