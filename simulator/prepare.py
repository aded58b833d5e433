"""Make what runs out of a scenario: the cache laid out, the policies built, the costs known.

The simulator runs it in virtual time, the torch runtime of `validation` in real time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.cache import ExpertCache
from simulator.costs.roofline import RooflineCosts
from simulator.eviction import EVICTION
from simulator.inputs import Inputs
from simulator.memory import MemoryBudget
from simulator.miss import MISS, Miss
from simulator.oracle import RecordedFuture
from simulator.lay_out import lay_out_cache, popularity
from simulator.policy import build_policy
from simulator.prefetch import PREFETCH, NoPrefetch, Prefetch
from simulator.run_view import RunView
from simulator.scenario import Scenario
from simulator.sizing import budget_of, cache_slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that one run needs; it can be run once. `prefetch` is None where nothing is ever prefetched."""

    costs: RooflineCosts
    budget: MemoryBudget
    view: RunView
    cache: ExpertCache
    prefetch: Prefetch | None
    miss: Miss
    warnings: Sequence[str]


def prepare(scenario: Scenario, inputs: Inputs, source: str, *, max_lookahead: int | None = None) -> Prepared:
    """Prepare a run. Raises InputError for what does not fit together.

    `max_lookahead` is how many layers ahead gates can be applied; by default as many as the trace has recorded.
    """
    trace, loop = inputs.trace, inputs.loop
    costs = RooflineCosts(inputs.model, inputs.profile, inputs.kv_cache)
    budget = budget_of(scenario, inputs)
    num_slots, warnings = cache_slots(scenario, inputs, budget, source)
    view = RunView(
        num_layers=trace.num_layers,
        make_future=lambda: RecordedFuture(
            loop.steps(), num_layers=trace.num_layers, num_keys=trace.num_banks * trace.num_experts
        ),
        max_lookahead=trace.lookahead_distances if max_lookahead is None else max_lookahead,
    )
    choices = inputs.policies
    cache = lay_out_cache(
        make_eviction=lambda: build_policy("eviction", choices["eviction"], EVICTION, view, source),
        num_slots=num_slots,
        num_banks=trace.num_banks,
        num_experts=trace.num_experts,
        top_k=trace.top_k,
        scope=scenario.cache.scope,
        start=scenario.cache.start,
        held=view.held_keys,
        count_popularity=lambda: popularity(trace, loop.sequences),
    )
    prefetch = build_policy("prefetch", choices["prefetch"], PREFETCH, view, source)
    return Prepared(
        costs=costs,
        budget=budget,
        view=view,
        cache=cache,
        prefetch=None if isinstance(prefetch, NoPrefetch) else prefetch,
        miss=build_policy("miss", choices["miss"], MISS, view, source),
        warnings=warnings,
    )
