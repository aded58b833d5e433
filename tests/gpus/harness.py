"""Run the lockstep on a `GpusCase`, and gather the same outcome as the plain loops."""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from simulator.costs.protocol import StepCosts
from simulator.dispatch import Policies
from simulator.estimates import CostEstimates
from simulator.gpus.exchange import Exchange, Port
from simulator.gpus.gpu import Gpu
from simulator.gpus.homes import Homes
from simulator.gpus.lockstep import Lockstep
from simulator.gpus.machine import make_machines
from simulator.gpus.part import Part
from simulator.gpus.peers import Upstream
from simulator.gpus.routes import Router
from simulator.gpus.several import recorded_future
from simulator.lay_out import CacheSize, lay_out_cache
from simulator.miss import MISS
from simulator.placement import PLACEMENT
from simulator.resources.clock import Clock
from simulator.run_view import RunFacts, RunView
from simulator.slots import SLOTS
from simulator.timeline import Timeline
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import Step
from tests.engine.case import Case
from tests.engine.harness import StatedCosts, make_eviction, make_prefetch, write_case_trace
from tests.gpus.plain import GpusCase, OfGpu, Outcome
from traces.format import Trace

NS_PER_S = 10**9


class TokenCosts(StatedCosts):
    """The durations of a case, and of non-expert work for each token."""

    def __init__(self, case: Case, lead_token_ns: int) -> None:
        super().__init__(case)
        self._lead_token_ns = lead_token_ns

    def step(self, step: Step) -> StepCosts:
        """By the tokens of a GPU."""
        costs = super().step(step)
        lead_ns = [lead_ns + self._lead_token_ns * len(step.tokens) for lead_ns in costs.lead_ns]
        return StepCosts(
            lead_ns=lead_ns, lead_overhead_ns=costs.lead_overhead_ns, tail_ns=costs.tail_ns, tail_overhead_ns=0
        )


def make_lockstep(
    run: GpusCase,
    path: Path,
    step_end_ns: list[int],
    *,
    timeline: Timeline | None = None,
    peer_ends_ns: Sequence[int] | None = None,
) -> Lockstep:
    """Make the lockstep for a case whose trace is written to `path`; it notes the steps' ends."""
    case = run.case
    trace = write_case_trace(case, path)
    loop = ClosedLoop(
        trace=trace,
        sequences=range(trace.num_sequences),
        batch=case.batch,
        prefill_chunk_tokens=case.prefill_chunk,
        max_tokens=case.max_tokens,
    )
    homes = Homes(num_gpus=run.num_gpus, gpu_of_key=run.gpu_of_key, method="stated")
    costs = TokenCosts(case, run.lead_token_ns)
    views, caches, policies = [], [], []
    for gpu in range(run.num_gpus):
        part = Part(
            keys=homes.keys_of(gpu),
            num_keys=case.num_keys,
            make_future=partial(recorded_future, trace, loop, homes, gpu, meets=run.meets),
        )
        view = part.view(_facts(case, trace, costs))
        cache = lay_out_cache(
            view=view,
            make_eviction=partial(make_eviction, case, view),
            placement=part.placement(PLACEMENT["none"](view)),
            split=SLOTS["equal"](view),
            size=part.size(CacheSize(experts=case.num_slots)),
            scope=case.scope,
            held=view.held_keys,
            elsewhere=part.elsewhere,
        )
        views.append(view)
        caches.append(cache)
        policies.append(Policies(miss=MISS["fetch"](view), prefetch=make_prefetch(case, view)))
    env = Clock()
    timelines = [
        None if timeline is None else timeline.beside(process=gpu + 2, process_name=f"GPU {gpu}")
        for gpu in range(run.num_gpus)
    ]
    machines = make_machines(
        env,
        costs,
        caches,
        upstream=Upstream(bandwidth=run.bandwidth, demand=run.demand),
        peer_ends_ns=peer_ends_ns,
        timelines=timelines,
    )
    gpus = [
        Gpu(env=env, machine=machine, costs=costs, cache=cache, view=view, policies=of_gpu, timeline=shown)
        for machine, cache, view, of_gpu, shown in zip(machines, caches, views, policies, timelines, strict=True)
    ]

    def step_ended(step: Step, now_ns: int) -> None:
        del step
        step_end_ns.append(now_ns)

    return Lockstep(
        env=env,
        steps=loop.steps(lookahead_layers=views[0].lookahead_layers),
        gpus=gpus,
        router=Router(homes),
        exchange=Exchange(1, Port(bandwidth=Fraction(NS_PER_S, run.token_ns), latency_ns=Fraction(run.exchange_ns))),
        meets=run.meets,
        step_ended=step_ended,
    )


def run_lockstep(
    run: GpusCase, path: Path, *, timeline: Timeline | None = None, peer_ends_ns: Sequence[int] | None = None
) -> tuple[Outcome, Lockstep]:
    """Run the lockstep on a case."""
    out = Outcome()
    lockstep = make_lockstep(run, path, out.step_end_ns, timeline=timeline, peer_ends_ns=peer_ends_ns)
    lockstep.run()
    counts = lockstep.snapshot()
    assert sum(counts.attribution_ns().values()) + counts.all_to_all_ns == counts.now_ns
    out.transitions, out.crossings = counts.token_transitions, counts.cross_gpu_transitions
    for of_gpu in lockstep.snapshots[-1]:
        spent = of_gpu.attribution_ns()
        assert sum(spent.values()) + of_gpu.all_to_all_ns + of_gpu.barrier_ns == of_gpu.now_ns
        out.gpus.append(
            OfGpu(
                experts_ns=spent["expert_compute"],
                other_ns=spent["non_expert_compute"] + spent["step_compute"],
                stall_ns=spent["exposed_demand_fetch"],
                exchange_ns=of_gpu.all_to_all_ns,
                barrier_ns=of_gpu.barrier_ns,
                link_busy_ns=of_gpu.link_busy_ns,
                hits=sum(of_gpu.hits),
                misses=sum(of_gpu.misses),
                expert_tokens=of_gpu.expert_tokens,
                sent_tokens=of_gpu.all_to_all_bytes,
            )
        )
    return out, lockstep


def _facts(case: Case, trace: Trace, costs: TokenCosts) -> RunFacts:
    def unknown() -> None:
        raise AssertionError("a part has a future of its own")

    def estimates(view: RunView) -> CostEstimates:
        return CostEstimates(costs, view)

    return RunFacts(
        first_keys=[bank * trace.num_experts for bank in trace.banks],
        num_experts=trace.num_experts,
        num_keys=case.num_keys,
        top_k=trace.top_k,
        has_gate_weights=False,
        recorded_lookahead=trace.lookahead_distances,
        stated_lookahead=None,
        stated_lookahead_by=(),
        make_future=unknown,  # type: ignore[arg-type]
        make_training=None,
        own_popularity=lambda: np.zeros(case.num_keys, dtype=np.int64),
        estimates=estimates,
        seed=0,
    )
