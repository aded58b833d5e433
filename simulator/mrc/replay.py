"""The expert cache alone under any eviction policy: the decisions of a run, carried out at once, without a clock.

It drives the same cache and the same `simulator.dispatch` as the engine does, so a policy is asked the same questions in the
same order. Every expert that a gate asks for arrives before the next gate, as it does in a run that fetches on demand.

Limits: batch and closed loop; no prefetch, placement or miss handling; one kernel for each expert; a policy that asks what
work costs is refused, as there is no machine here.
"""

from collections import deque
from collections.abc import Callable, Sequence

from hardware_profiles.errors import InputError
from simulator.dispatch import Dispatch, Policies
from simulator.eviction import EVICTION
from simulator.lay_out import CacheSize, lay_out_cache, popularity
from simulator.miss.fetch import Fetch
from simulator.oracle import RecordedFuture
from simulator.placement.none import Cold
from simulator.policy import build_policy
from simulator.resources.transfers import Transfer
from simulator.run_view import RunFacts, RunView
from simulator.scenario import PolicyChoice
from simulator.slots.equal import Equal
from simulator.view import Estimates
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import distinct_experts
from traces.format import Trace

_STEPS_PER_REPORT = 64


class _Arrivals:
    """A link on which nothing takes time: `simulator.fetching.Channel`. `under_way` is in the order of the demands."""

    def __init__(self) -> None:
        self.under_way: deque[int] = deque()

    def demand(self, key: int) -> None:
        """Queue a demand fetch."""
        self.under_way.append(key)

    def prefetch(self, key: int) -> None:
        """Never called: nothing prefetches."""
        raise AssertionError(key)

    def promote(self, key: int) -> None:
        """Never called: nothing is in flight at a gate."""
        raise AssertionError(key)

    def num_queued(self) -> int:
        """Return 0: the policies see an idle link."""
        return 0

    def queued_prefetches(self) -> Sequence[int]:
        """Return nothing."""
        return ()

    def cancel(self, key: int) -> object:
        """Never called: nothing prefetches."""
        raise AssertionError(key)


def replay_hits(
    trace: Trace,
    sequences: Sequence[int],
    *,
    eviction: PolicyChoice,
    num_slots: int,
    scope: str,
    batch: int = 1,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[int]:
    """Return the hits of each routing round with a cache of `num_slots` experts in all; `progress` is told of new steps.

    Raises InputError for a policy that is unknown, or cannot do without what only a whole run has.
    """
    loop = ClosedLoop(trace=trace, sequences=sequences, batch=batch)
    view = _view(trace, loop, seed)
    cache = lay_out_cache(
        view=view,
        make_eviction=lambda: build_policy("eviction", eviction, EVICTION, view, "--policies"),
        placement=Cold(view),
        split=Equal(view),
        size=CacheSize(experts=num_slots),
        scope=scope,
        held=view.held_keys,
    )
    if cache.admits:
        cache.admits = []  # without staging slots every expert is admitted
    link = _Arrivals()
    dispatch = Dispatch(
        view=view,
        cache=cache,
        channel=link,
        policies=Policies(miss=Fetch(view)),
        timeline=None,
        now_ns=lambda: 0,
    )
    unreported = 0
    for step in loop.steps(gate_weights=view.needs_gate_weights, lookahead_layers=view.lookahead_layers):
        view.step = step
        dispatch.step_started()
        for layer in range(trace.num_layers):
            keys, num_tokens = distinct_experts(step.tokens, layer)
            _visit(
                dispatch, link, layer, keys, None if num_tokens is None else dict(zip(keys, num_tokens, strict=True))
            )
        unreported += 1
        if progress is not None and unreported == _STEPS_PER_REPORT:
            progress(unreported)
            unreported = 0
    if progress is not None:
        progress(unreported)
    return list(dispatch.counters.hits)


def _visit(
    dispatch: Dispatch, link: _Arrivals, layer: int, keys: Sequence[int], tokens_of: dict[int, int] | None
) -> None:
    """Carry a gate's result out: what is resident is computed, then the others as they come; what waits gets their slots."""
    ready, left, waiting, _ = dispatch.gate(layer, keys, tokens_of)
    if waiting:
        for key in ready:
            dispatch.unpin((key,))
            dispatch.fetch_waiting(waiting)
    while left:
        while not dispatch.arrived:
            dispatch.deliver(Transfer(link.under_way.popleft(), is_prefetch=False))
        key = dispatch.arrived.popleft()
        left -= 1
        if waiting:
            dispatch.unpin((key,))
            dispatch.fetch_waiting(waiting)
    dispatch.computed(keys)


def _view(trace: Trace, loop: ClosedLoop, seed: int) -> RunView:
    num_keys = trace.num_banks * trace.num_experts

    def no_costs(view: RunView) -> Estimates:
        del view
        raise InputError("--policies", "the policy asks what work costs, and a curve knows no machine; use moesim run")

    return RunView(
        RunFacts(
            first_keys=[bank * trace.num_experts for bank in trace.banks],
            num_experts=trace.num_experts,
            num_keys=num_keys,
            top_k=trace.top_k,
            has_gate_weights=trace.has_gate_weights,
            recorded_lookahead=trace.lookahead_distances,
            stated_lookahead=None,
            stated_lookahead_by=(),
            make_future=lambda: RecordedFuture(loop.steps(), num_layers=trace.num_layers, num_keys=num_keys),
            make_training=None,
            own_popularity=lambda: popularity(trace, loop.sequences),
            estimates=no_costs,
            seed=seed,
        )
    )
