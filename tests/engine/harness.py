"""Run the engine on a `Case` of the reference, and gather the same outcome."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.costs.protocol import MemoryDemands, StepCosts
from simulator.dispatch import Policies
from simulator.engine import Engine, Tiles
from simulator.estimates import CostEstimates
from simulator.eviction import EVICTION, Eviction
from simulator.eviction.lru import LRU
from simulator.host_cache import make_host_cache
from simulator.lay_out import CacheSize, lay_out_cache
from simulator.miss import MISS, Miss, MissAction
from simulator.oracle import RecordedFuture
from simulator.order import ORDER
from simulator.placement import PLACEMENT
from simulator.prefetch import PREFETCH, Prefetch
from simulator.queue import QUEUE
from simulator.run_view import RunFacts, RunView
from simulator.slots import SLOTS
from simulator.timeline import Timeline
from simulator.view import View
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import Step
from tests.engine.case import Case, Outcome, is_named
from traces.format import Sequences, Trace, TraceMetadata, open_trace, write_trace


class StatedCosts:
    """The durations of a case, as `simulator.costs.protocol.Costs`."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.chunk_ends_ns: Sequence[int] = case.chunk_ends_ns
        self.kernels_are_grouped = case.grouped
        self.num_cpu_workers = case.cpu_workers
        self.stall_overhead_ns = case.stall_overhead_ns
        self.cpu_join_overhead_ns = case.cpu_join_overhead_ns
        self.beside_cpu_ppm = case.beside_cpu_ppm
        self.lookahead_ns = case.lookahead_ns
        self.slowed_ppm = case.slowed_ppm
        self.cpu_slowed_ppm = case.cpu_slowed_ppm
        self.low_chunk_ends_ns: Sequence[int] = case.low_chunk_ends_ns
        self.write_back_ns = case.back_ns
        self.read_chunk_ends_ns: Sequence[int] = case.read_ends_ns
        self.memory_demands = MemoryDemands(
            bandwidth=case.bandwidth,
            h2d=case.copy_demand,
            low_h2d=case.low_copy_demand,
            d2h=case.back_demand,
            cpu_expert=case.cpu_demand,
            nvme=case.read_demand,
        )

    def expert_ns(self, num_tokens: int) -> int:
        """One expert's kernel."""
        return self._case.expert_ns(0, num_tokens)

    def low_expert_ns(self, num_tokens: int) -> int:
        """The kernel of a low-precision copy."""
        return self._case.expert_ns(self._case.num_keys, num_tokens)

    def group_ns(self, num_tokens: Sequence[int]) -> int:
        """One kernel over several experts."""
        return self._case.group_ns(list(num_tokens))

    def cpu_expert_ns(self, num_tokens: int) -> int:
        """One expert on a worker."""
        return self._case.cpu_ns(num_tokens)

    def activation_ns(self, num_tokens: int) -> int:
        """States and results of the experts on the CPU."""
        return self._case.activation_token_ns * num_tokens

    def step(self, step: Step) -> StepCosts:
        """The same for every step."""
        del step
        none = [0] * len(self._case.lead_ns)
        return StepCosts(
            lead_ns=self._case.lead_ns, lead_overhead_ns=none, tail_ns=self._case.tail_ns, tail_overhead_ns=0
        )


class ByKey:
    """The miss handling of a case, which looks at nothing but keys."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Do what the case says."""
        del num_tokens
        return [MissAction(self._case.action(key)) for key in keys]


class AllByKey(ByKey):
    """The same, with all that a miss policy may do beside."""

    def __init__(self, case: Case, view: View) -> None:
        super().__init__(case)
        self._view = view
        self._oracle = view.oracle

    def reroute(self) -> Sequence[Sequence[int]]:
        """Do without some absent experts, and take others for some."""
        view, picks = self._view, self._view.picks()
        absent = {key for token in picks for key in token if not view.is_resident(key) and not view.is_in_flight(key)}
        return [self._case.rerouted(list(token), absent) for token in picks]

    def similarity(self, wanted: int, substitute: int) -> float:
        """Half the way."""
        return 1.0 if wanted == substitute else 0.5

    def share(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Leave some to the CPU."""
        del num_tokens
        return [key for key in keys if is_named(key, self._case.share_modulus)]

    def start_early(self) -> Mapping[int, int]:
        """Begin with some of the next layer."""
        return self._case.early(list(self._oracle.upcoming(1)))


class AsksGates:
    """Ask the gates that follow, each twice, and prefetch what another prefetcher says, if there is one."""

    def __init__(self, view: View, case: Case, prefetch: Prefetch | None) -> None:
        view.require_lookahead(case.gates_asked)
        self._view = view
        self._distances = range(1, case.gates_asked + 1)
        self._prefetch = prefetch
        self.WHOLE_LAYERS = getattr(prefetch, "WHOLE_LAYERS", False)

    def at_step_start(self) -> Sequence[int]:
        """Ask before any state is there, which costs nothing."""
        self._ask()
        return self._prefetch.at_step_start() if self._prefetch is not None else ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Ask."""
        self._ask()
        return self._prefetch.after_gate(keys) if self._prefetch is not None else ()

    def at_layer_end(self) -> Sequence[int]:
        """Ask again."""
        self._ask()
        return self._prefetch.at_layer_end() if self._prefetch is not None else ()

    def _ask(self) -> None:
        for distance in self._distances:
            self._view.lookahead(distance)


class Picky(LRU):
    """Let only some experts into a full pool."""

    def __init__(self, view: View, case: Case) -> None:
        super().__init__(view)
        self._case = case

    def admits(self, key: int) -> bool:
        """Look at the key."""
        return self._case.admits(key)


class Generous(LRU):
    """Give up some experts that have been computed."""

    def __init__(self, view: View, case: Case) -> None:
        super().__init__(view)
        self._case = case

    def gives_up(self, keys: Iterable[int]) -> Sequence[int]:
        """Look at the keys."""
        return [key for key in keys if self._case.gives_up(key)]


def make_eviction(case: Case, view: View) -> Eviction:
    """Make the eviction policy of a case."""
    if case.eviction == "picky":
        return Picky(view, case)
    return Generous(view, case) if case.eviction == "generous" else EVICTION[case.eviction](view)


def make_miss(case: Case, view: View) -> Miss:
    """Make the miss policy of a case."""
    if case.drop_modulus or case.swap_modulus or case.share_modulus or case.early_modulus:
        return AllByKey(case, view)
    return MISS["fetch"](view) if case.actions == ("fetch",) else ByKey(case)


def make_prefetch(case: Case, view: View, prefetch: Callable[[View], Prefetch] | None = None) -> Prefetch | None:
    """Make the case's prefetcher, or one in its place; either way one that asks the gates that the case has asked."""
    if prefetch is None and case.streamed_layers:
        prefetch = partial(PREFETCH["stream_layers"], distance=case.streamed_layers)
    if prefetch is None and case.lookahead:
        prefetch = partial(PREFETCH["perfect"], lookahead_layers=case.lookahead)
    made = prefetch(view) if prefetch is not None else None
    return AsksGates(view, case, made) if case.gates_asked else made


def write_case_trace(case: Case, path: Path, *, lookahead_ids: NDArray[np.uint8] | None = None) -> Trace:
    """Write the sequences of a case as a trace and open it. `lookahead_ids` is [T, L, D, K]."""
    ids = np.array([token for sequence, _ in case.sequences for token in sequence], dtype=np.uint8)
    lengths = [len(sequence) for sequence, _ in case.sequences]
    if lookahead_ids is None and case.gates_asked:
        lookahead_ids = np.repeat(ids[:, :, None], case.gates_asked, axis=2)
    write_trace(
        path,
        Sequences(
            expert_ids=ids,
            sequence_start=np.cumsum([0, *lengths]).astype(np.int64),
            prompt_tokens=np.array([prompt for _, prompt in case.sequences], dtype=np.int32),
            lookahead_ids=lookahead_ids,
        ),
        TraceMetadata(model="test", num_experts=case.num_experts, banks=tuple(case.banks)),
        overwrite=True,
    )
    return open_trace(path)


def make_engine(
    case: Case,
    trace: Trace,
    out: Outcome,
    timeline: Timeline | None = None,
    prefetch: Callable[[View], Prefetch] | None = None,
) -> Engine:
    """Make an engine for a case that notes the steps' ends in `out`. `prefetch` takes the place of the case's own."""
    loop = ClosedLoop(
        trace=trace,
        sequences=range(trace.num_sequences),
        batch=case.batch,
        prefill_chunk_tokens=case.prefill_chunk,
        max_tokens=case.max_tokens,
    )
    num_keys = trace.num_banks * trace.num_experts
    costs = StatedCosts(case)
    view = RunView(
        RunFacts(
            first_keys=[bank * trace.num_experts for bank in trace.banks],
            num_experts=trace.num_experts,
            num_keys=num_keys,
            top_k=trace.top_k,
            has_gate_weights=False,
            recorded_lookahead=trace.lookahead_distances,
            stated_lookahead=None,
            stated_lookahead_by=(),
            make_future=lambda: RecordedFuture(loop.steps(), num_layers=trace.num_layers, num_keys=num_keys),
            make_training=None,
            own_popularity=lambda: np.zeros(num_keys, dtype=np.int64),
            estimates=lambda view: CostEstimates(costs, view),
            seed=0,
        )
    )
    cache = lay_out_cache(
        view=view,
        make_eviction=lambda: make_eviction(case, view),
        placement=PLACEMENT["none"](view),
        split=SLOTS["equal"](view),
        size=CacheSize(experts=case.num_slots, staging=case.num_staging, low=case.num_low),
        scope=case.scope,
        held=view.held_keys,
    )
    policies = Policies(
        miss=make_miss(case, view),
        prefetch=make_prefetch(case, view, prefetch),
        order=ORDER[case.order](view) if case.order != "first_appearance" else None,
        queue=QUEUE[case.queue](view) if case.queue != "keep" else None,
    )
    host = None
    if case.host_slots:
        host = make_host_cache(
            view,
            make_eviction=EVICTION[case.host_eviction],
            num_slots=case.host_slots,
            read_ahead=case.read_ahead,
            warm=case.host_warm,
        )

    def step_ended(step: Step, now_ns: int) -> None:
        out.step_end_ns.append(now_ns)
        out.emitted.append([request.sequence for request in step.emits])

    return Engine(
        steps=loop.steps(lookahead_layers=view.lookahead_layers),
        costs=costs,
        cache=cache,
        view=view,
        policies=policies,
        step_ended=step_ended,
        timeline=timeline,
        shares_memory=case.bandwidth > 0,
        writes_back=case.back_ns > 0,
        is_pageable=case.is_pageable,
        tiles=Tiles(count=case.num_tiles, overhead_ns=case.tile_overhead_ns),
        host=host,
    )


def run_engine(
    case: Case,
    trace: Trace,
    timeline: Timeline | None = None,
    prefetch: Callable[[View], Prefetch] | None = None,
) -> Outcome:
    """Run the engine on a case."""
    out = Outcome()
    engine = make_engine(case, trace, out, timeline, prefetch)
    engine.run()
    counters = engine.snapshot()
    attribution_ns = counters.attribution_ns()
    assert sum(attribution_ns.values()) == counters.now_ns, "the attribution adds up to the makespan"
    out.hits, out.late_hits, out.misses = sum(counters.hits), sum(counters.late_hits), sum(counters.misses)
    out.wave_fetches = counters.wave_fetches
    out.demand_transfers, out.prefetch_transfers = counters.demand_transfers, counters.prefetch_transfers
    out.low_transfers, out.in_place_transfers = counters.low_transfers, counters.in_place_transfers
    out.link_busy_ns = counters.link_busy_ns
    out.issued, out.dropped = counters.prefetches_issued, counters.prefetches_dropped
    out.cancelled, out.useful = counters.prefetches_cancelled, counters.prefetches_useful
    out.late, out.wasted = counters.prefetches_late, counters.prefetches_wasted
    out.unused = engine.dispatch.num_unused_prefetches()
    out.cpu_experts, out.cpu_busy_ns = sum(counters.cpu_experts), counters.cpu_busy_ns
    out.deferred, out.low_experts = sum(counters.deferred_experts), sum(counters.low_experts)
    out.dropped_picks, out.swapped_picks = sum(counters.dropped_picks), sum(counters.substituted_picks)
    out.host_hits, out.host_late_hits = counters.host_hits, counters.host_late_hits
    out.host_misses, out.host_evictions = counters.host_misses, counters.host_evictions
    out.reads, out.read_busy_ns = counters.nvme_reads, counters.nvme_busy_ns
    out.reads_ahead, out.reads_ahead_used = counters.reads_ahead, counters.reads_ahead_used
    out.copied_back, out.back_busy_ns = counters.write_backs, counters.write_back_busy_ns
    out.attribution_ns = {
        "experts": attribution_ns["expert_compute"],
        "other": attribution_ns["non_expert_compute"] + attribution_ns["step_compute"],
        "demand": attribution_ns["exposed_demand_fetch"],
        "late": attribution_ns["exposed_late_prefetch"],
        "behind": attribution_ns["queued_behind_prefetch"],
        "cpu": attribution_ns["exposed_cpu_expert"],
        "nvme": attribution_ns["exposed_nvme"],
        "lost": attribution_ns["runtime_overhead"],
    }
    return out
