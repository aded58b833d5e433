"""Steps of a run whose experts are all resident: nothing is decided and nothing waits, so a step is one duration.

Worth having because a service of a model that fits runs millions of such steps. What is counted is what the engine would
have counted layer by layer, and `bench/` holds the speed.

Limits: no timeline, no policies that watch or decide, one kernel per expert.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulator.cache import RESIDENT
from simulator.costs.protocol import Costs, StepCosts
from simulator.dispatch import Dispatch, Policies
from simulator.eviction.protocol import GivesUp, ObservesGates
from simulator.miss.fetch import Fetch
from simulator.run_view import RunView
from simulator.timeline import Timeline
from simulator.workload.routing import StepVisits
from simulator.workload.step import Visits

if TYPE_CHECKING:
    from numpy.typing import NDArray


class WholeSteps:
    """Run whole steps, and count them when asked."""

    def __init__(self, dispatch: Dispatch, costs: Costs, view: RunView) -> None:
        self._dispatch = dispatch
        self._costs = costs
        self._view = view
        self._num_keys = view.num_keys
        self._shape = view.num_layers, view.num_experts
        self._kernel_ns: NDArray[np.int64] = np.zeros(1, np.int64)  # by number of tokens
        self._accesses = np.zeros(view.num_layers, np.int64)
        self._expert_ns = np.zeros(view.num_layers, np.int64)
        self._non_expert_ns = np.zeros(view.num_layers, np.int64)
        self._overhead_ns = np.zeros(view.num_layers, np.int64)
        self._pending_ns = [0, 0, 0]
        self._lead: Sequence[int] = ()
        self._lead_overhead_ns = np.zeros(view.num_layers, np.int64)
        self._total_overhead_ns = 0

    @classmethod
    def where_possible(
        cls, dispatch: Dispatch, costs: Costs, policies: Policies, view: RunView, timeline: Timeline | None
    ) -> "WholeSteps | None":
        """Return a runner of whole steps, None where a run may hold something that it would not see."""
        watched = any(isinstance(pool.eviction, ObservesGates | GivesUp) for pool in dispatch.cache.pools)
        watched = watched or isinstance(policies.host, ObservesGates)
        decides = policies.prefetch or policies.order or policies.queue or not isinstance(policies.miss, Fetch)
        if watched or decides or timeline is not None or costs.kernels_are_grouped or dispatch.cache.can_shrink:
            return None
        return cls(dispatch, costs, view)

    def is_resident(self) -> bool:
        """Tell whether all experts are."""
        return self._dispatch.cache.state.count(RESIDENT) == self._num_keys

    def run(self, visits: Visits, step_costs: StepCosts) -> int:
        """Count a step and return its duration."""
        assert isinstance(visits, StepVisits)
        counts = visits.counts().reshape(self._shape)
        try:
            kernels_ns = self._kernel_ns.take(counts)
        except IndexError:
            self._learn(int(counts.max()))
            kernels_ns = self._kernel_ns.take(counts)
        expert_ns = np.add.reduce(kernels_ns, axis=1)
        self._expert_ns += expert_ns
        self._accesses += np.add.reduce(counts > 0, axis=1)
        total_expert_ns, total_lead_ns = int(expert_ns.sum()), sum(step_costs.lead_ns)
        if step_costs.lead_overhead_ns is not self._lead:
            self._lead = step_costs.lead_overhead_ns
            self._lead_overhead_ns = np.array(self._lead, np.int64)
            self._total_overhead_ns = sum(self._lead)
        self._non_expert_ns += np.array(step_costs.lead_ns, np.int64)
        self._overhead_ns += self._lead_overhead_ns
        counters = self._dispatch.counters
        counters.step_compute_ns += step_costs.tail_ns - step_costs.tail_overhead_ns
        counters.step_overhead_ns += step_costs.tail_overhead_ns
        self._view.visit += self._shape[0]
        self._view.is_past_gate = True
        pending_ns = self._pending_ns
        pending_ns[0] += total_expert_ns
        pending_ns[1] += total_lead_ns - self._total_overhead_ns
        pending_ns[2] += self._total_overhead_ns
        return total_expert_ns + total_lead_ns + step_costs.tail_ns

    def pending_ns(self) -> Sequence[int]:
        """Return what `count` has yet to bring to the counters: expert kernels, other work of layers, overhead of it."""
        return self._pending_ns

    def count(self) -> None:
        """Bring the run's counters up to date."""
        counters = self._dispatch.counters
        for layer in range(self._shape[0]):
            counters.accesses[layer] += int(self._accesses[layer])
            counters.hits[layer] += int(self._accesses[layer])
            counters.expert_compute_ns[layer] += int(self._expert_ns[layer])
            counters.non_expert_compute_ns[layer] += int(self._non_expert_ns[layer] - self._overhead_ns[layer])
            counters.runtime_overhead_ns[layer] += int(self._overhead_ns[layer])
        for pending in (self._accesses, self._expert_ns, self._non_expert_ns, self._overhead_ns):
            pending[:] = 0
        self._pending_ns = [0, 0, 0]

    def _learn(self, most: int) -> None:
        known = len(self._kernel_ns)
        more = [self._costs.expert_ns(num_tokens) for num_tokens in range(known, max(most + 1, 2 * known))]
        self._kernel_ns = np.concatenate([self._kernel_ns, np.array(more, np.int64)])
