"""What a policy is told of costs: the run's own cost models, with nothing else going on."""

from collections.abc import Sequence

from simulator.costs.protocol import Costs
from simulator.run_view import RunView
from simulator.workload.step import Step


class CostEstimates:
    """`simulator.view.Estimates` of a run."""

    def __init__(self, costs: Costs, view: RunView) -> None:
        self._costs = costs
        self._view = view
        self._step: Step | None = None
        self._lead_ns: Sequence[int] = ()
        self.transfer_ns = costs.chunk_ends_ns[-1]
        self.read_ns = costs.read_chunk_ends_ns[-1] if costs.read_chunk_ends_ns else 0
        self.num_cpu_workers = costs.num_cpu_workers
        self.expert_ns = costs.expert_ns
        self.cpu_expert_ns = costs.cpu_expert_ns
        self.activation_ns = costs.activation_ns

    def fetch_ns(self, key: int) -> int:
        """The way of an expert to the GPU, from NVMe if that is where it is."""
        return self.transfer_ns if self._view.is_in_host(key) else self.read_ns + self.transfer_ns

    @property
    def layer_ns(self) -> int:
        """The work up to the next gate, for the tokens of the current step; 0 where there is no step."""
        step = self._view.step
        if step is None:
            return 0
        if step is not self._step:
            self._step, self._lead_ns = step, self._costs.step(step).lead_ns
        return self._lead_ns[self._view.visit % self._view.num_layers]
