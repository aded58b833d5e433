"""Make what runs out of a scenario: the cache laid out, the policies built, the costs known.

The simulator runs it in virtual time, the torch runtime of `validation` in real time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_profiles.errors import InputError
from simulator.cache import RESIDENT, ExpertCache
from simulator.costs.roofline import RooflineCosts
from simulator.dispatch import Policies
from simulator.estimates import CostEstimates
from simulator.eviction import EVICTION
from simulator.gpus.part import Part
from simulator.host_cache import HostCache, make_host_cache
from simulator.host_sizing import host_cache_size
from simulator.inputs import Inputs
from simulator.lay_out import CacheSize, lay_out_cache, popularity
from simulator.lookahead import StatedLookahead
from simulator.memory import MemoryBudget
from simulator.miss import MISS
from simulator.miss.protocol import Reroutes
from simulator.model.quantisation import parse_quantisation
from simulator.oracle import RecordedFuture
from simulator.order import ORDER
from simulator.order.first_appearance import FirstAppearance
from simulator.placement import PLACEMENT
from simulator.policy import P, build_policy
from simulator.prefetch import PREFETCH, NoPrefetch
from simulator.published_recall import published_recall
from simulator.queue import QUEUE
from simulator.queue.keep import Keep
from simulator.run_view import RunFacts, RunView
from simulator.scenario import HostCacheChoice, Scenario
from simulator.sizing import budget_of, budget_of_service, cache_size
from simulator.slots import SLOTS

UNKNOWN_FUTURE = (
    "knows the routing to come, which in a service depends on its own speed; use it in a closed batch, without workload, or "
    "another policy here"
)
"""Why an oracle cannot be built for a service."""

_MOST_STATED_DISTANCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that one run needs; it can be run once."""

    costs: RooflineCosts
    budget: MemoryBudget
    view: RunView
    cache: ExpertCache
    size: CacheSize
    policies: Policies
    warnings: Sequence[str]
    host: HostCache | None = None


def prepare(
    scenario: Scenario, inputs: Inputs, source: str, *, max_lookahead: int | None = None, part: Part | None = None
) -> Prepared:
    """Prepare a run. Raises InputError for what does not fit together.

    `max_lookahead` is how many layers ahead gates can be applied; by default as many as the trace has recorded.
    `part` is what one of several GPUs computes.
    """
    trace = inputs.trace
    low_format = _low_format(scenario, source)
    costs = RooflineCosts(
        inputs.model,
        inputs.profile,
        inputs.kv_cache,
        low_format=low_format,
        reads_nvme=scenario.host_cache is not None,
    )
    budget = budget_of(scenario, inputs) if scenario.workload is None else budget_of_service(scenario, inputs, source)
    size, warnings = cache_size(scenario, inputs, budget, source)
    facts = _facts(scenario, inputs, costs, max_lookahead)
    view = RunView(facts) if part is None else part.view(facts)
    size = size if part is None else part.size(size)
    placement = build_policy("placement", inputs.policies["placement"], PLACEMENT, view, source)

    def build(kind: str, known: dict[str, Callable[..., P]]) -> P:
        return build_policy(kind, inputs.policies[kind], known, view, source)

    cache = lay_out_cache(
        view=view,
        make_eviction=lambda: build("eviction", EVICTION),
        placement=placement if part is None else part.placement(placement),
        split=build("slots", SLOTS),
        size=size,
        scope=scenario.cache.scope,
        held=view.held_keys,
        elsewhere=() if part is None else part.elsewhere,
    )
    miss, prefetch = build("miss", MISS), build("prefetch", PREFETCH)
    order, queue = build("order", ORDER), build("queue", QUEUE)
    host = None
    if scenario.host_cache is not None:
        host, more_warnings = _host_cache(scenario.host_cache, scenario, inputs, budget, size, view, cache, source)
        warnings += more_warnings
    needs_low = bool(getattr(miss, "NEEDS_LOW_PRECISION", False))
    if needs_low and not size.low:
        raise InputError(
            source,
            f"miss: {inputs.policies['miss'].name} uses low-precision copies, and there is no slot for one; give "
            "low_precision: {format: int4_g128, frac: 0.25}, or a larger cache",
        )
    view.is_lossy = needs_low or isinstance(miss, Reroutes) or bool(getattr(miss, "LOSSY", False))
    if view.is_lossy and trace.has_gate_weights:
        view.require_gate_weights()
    return Prepared(
        costs=costs,
        budget=budget,
        view=view,
        cache=cache,
        size=size,
        policies=Policies(
            miss=miss,
            prefetch=None if isinstance(prefetch, NoPrefetch) else prefetch,
            order=None if isinstance(order, FirstAppearance) else order,
            queue=None if isinstance(queue, Keep) else queue,
            host=None if host is None else host.cache.pools[0].eviction,
        ),
        warnings=warnings,
        host=host,
    )


def _host_cache(
    choice: HostCacheChoice,
    scenario: Scenario,
    inputs: Inputs,
    budget: MemoryBudget,
    size: CacheSize,
    view: RunView,
    cache: ExpertCache,
    source: str,
) -> tuple[HostCache, list[str]]:
    """Lay out host memory as a cache of experts. Returns what there is to warn of as well. Raises InputError."""
    num_slots, warnings = host_cache_size(choice, scenario, inputs, budget, size, source)
    warm: Sequence[int] = ()
    if choice.start == "popular":
        on_gpu = np.frombuffer(cache.state, np.uint8)[: view.num_keys] == RESIDENT
        warm = np.lexsort((-view.popularity(), on_gpu))[:num_slots][::-1].tolist()
    try:
        host = make_host_cache(
            view,
            make_eviction=lambda seen: build_policy("eviction", choice.eviction, EVICTION, seen, source),
            num_slots=num_slots,
            read_ahead=choice.read_ahead,
            warm=warm,
        )
    except InputError as error:
        raise InputError(source, [f"host_cache.{fault}" for fault in error.faults]) from None
    return host, warnings


def _facts(scenario: Scenario, inputs: Inputs, costs: RooflineCosts, max_lookahead: int | None) -> RunFacts:
    """Gather what a view knows from the start."""
    trace, loop = inputs.trace, inputs.loop
    num_keys = trace.num_banks * trace.num_experts
    first_keys = [bank * trace.num_experts for bank in trace.banks]
    recall, stated_by = _stated_recall(scenario, trace.num_layers)

    def make_future() -> RecordedFuture:
        if scenario.workload is not None:
            raise ValueError(UNKNOWN_FUTURE)
        return RecordedFuture(loop.steps(), num_layers=trace.num_layers, num_keys=num_keys)

    return RunFacts(
        first_keys=first_keys,
        num_experts=trace.num_experts,
        num_keys=num_keys,
        top_k=trace.top_k,
        has_gate_weights=trace.has_gate_weights,
        recorded_lookahead=trace.lookahead_distances if max_lookahead is None else max_lookahead,
        stated_lookahead=StatedLookahead(
            recall, first_keys=first_keys, num_experts=trace.num_experts, seed=scenario.seed
        ),
        stated_lookahead_by=stated_by,
        make_future=make_future,
        make_training=inputs.make_training,
        own_popularity=lambda: popularity(trace, loop.sequences),
        estimates=lambda view: CostEstimates(costs, view),
        seed=scenario.seed,
    )


def _stated_recall(scenario: Scenario, num_layers: int) -> tuple[Sequence[Sequence[float]], Sequence[str]]:
    """Return the recall [L][D] of gate lookahead that nobody recorded, and what to say of it in a result."""
    if scenario.lookahead is None:
        published = published_recall(num_layers, _MOST_STATED_DISTANCES)
        return published.recall, published.assumptions
    recall = scenario.lookahead.recall
    shares = ", ".join(f"{share:.1%}" for share in recall)
    return [recall] * num_layers, [f"gate lookahead finds {shares} of the picks, by distance, as the scenario states"]


def _low_format(scenario: Scenario, source: str) -> str | None:
    """Return the format of low-precision copies. Raises InputError for one that is not known."""
    if scenario.low_precision is None:
        return None
    try:
        return parse_quantisation(scenario.low_precision.format).name
    except ValueError as error:
        raise InputError(source, f"low_precision.format: {error}") from None
