"""Run the engine on a `Case` of the reference, and gather the same outcome."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.costs.protocol import StepCosts
from simulator.dispatch import Policies
from simulator.engine import Engine
from simulator.estimates import CostEstimates
from simulator.eviction import EVICTION
from simulator.lay_out import CacheSize, lay_out_cache
from simulator.miss import MISS, MissAction
from simulator.oracle import RecordedFuture
from simulator.placement import PLACEMENT
from simulator.prefetch import PREFETCH, Prefetch
from simulator.run_view import RunFacts, RunView
from simulator.slots import SLOTS
from simulator.timeline import Timeline
from simulator.view import View
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import Step
from tests.engine.reference import Case, Outcome
from traces.format import Sequences, Trace, TraceMetadata, open_trace, write_trace


class StatedCosts:
    """The durations of a case, as `simulator.costs.protocol.Costs`."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.chunk_ends_ns: Sequence[int] = case.chunk_ends_ns
        self.kernels_are_grouped = case.grouped
        self.num_cpu_workers = case.cpu_workers
        self.stall_overhead_ns = case.stall_overhead_ns
        self.low_chunk_ends_ns: Sequence[int] = ()
        self.write_back_ns = 0
        self.memory_demands = None

    def expert_ns(self, num_tokens: int) -> int:
        """One expert's kernel."""
        return self._case.expert_ns(num_tokens)

    def low_expert_ns(self, num_tokens: int) -> int:
        """There are no low-precision copies."""
        raise AssertionError(num_tokens)

    def group_ns(self, num_tokens: Sequence[int]) -> int:
        """One kernel over several experts."""
        return self._case.group_ns(list(num_tokens))

    def cpu_expert_ns(self, num_tokens: int) -> int:
        """One expert on a worker."""
        return self._case.cpu_base_ns + self._case.cpu_token_ns * num_tokens

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


class SomeOnCpu:
    """The miss handling of a case: some go to the CPU, by their key."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Send to the CPU what the case says."""
        del num_tokens
        return [MissAction.CPU if self._case.goes_to_cpu(key) else MissAction.FETCH for key in keys]


def write_case_trace(case: Case, path: Path, *, lookahead_ids: NDArray[np.uint8] | None = None) -> Trace:
    """Write the sequences of a case as a trace and open it. `lookahead_ids` is [T, L, D, K]."""
    ids = np.array([token for sequence, _ in case.sequences for token in sequence], dtype=np.uint8)
    lengths = [len(sequence) for sequence, _ in case.sequences]
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
    if prefetch is None and case.lookahead:
        prefetch = partial(PREFETCH["perfect"], lookahead_layers=case.lookahead)
    cache = lay_out_cache(
        view=view,
        make_eviction=lambda: EVICTION[case.eviction](view),
        placement=PLACEMENT["none"](view),
        split=SLOTS["equal"](view),
        size=CacheSize(experts=case.num_slots),
        scope=case.scope,
        held=view.held_keys,
    )
    policies = Policies(
        miss=SomeOnCpu(case) if case.cpu_modulus else MISS["fetch"](view),
        prefetch=prefetch(view) if prefetch is not None else None,
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
    out.dropped = counters.prefetches_dropped
    out.cpu_experts, out.cpu_busy_ns = sum(counters.cpu_experts), counters.cpu_busy_ns
    out.link_busy_ns = counters.link_busy_ns
    out.demand_transfers, out.prefetch_transfers = counters.demand_transfers, counters.prefetch_transfers
    out.attribution_ns = {
        "experts": attribution_ns["expert_compute"],
        "other": attribution_ns["non_expert_compute"] + attribution_ns["step_compute"],
        "demand": attribution_ns["exposed_demand_fetch"],
        "late": attribution_ns["exposed_late_prefetch"],
        "behind": attribution_ns["queued_behind_prefetch"],
        "cpu": attribution_ns["exposed_cpu_expert"],
        "lost": attribution_ns["runtime_overhead"],
    }
    return out
