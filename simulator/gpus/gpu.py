"""One of several GPUs: an engine of its own whose steps come layer by layer, from `simulator.gpus.lockstep`."""

from collections.abc import Mapping

from simpy.events import Timeout

from simulator.cache import ExpertCache
from simulator.costs.protocol import Costs, StepCosts
from simulator.dispatch import Policies
from simulator.engine import Engine, Waits
from simulator.gpus.machine import GpuMachine
from simulator.metrics.counters import ATTRIBUTION
from simulator.resources.clock import Clock
from simulator.resources.transfers import Transfer
from simulator.run_view import RunView
from simulator.timeline import Timeline
from simulator.workload.step import Step

TIMES_OF_LAYERS = (
    "expert_compute_ns",
    "non_expert_compute_ns",
    "runtime_overhead_ns",
    *(f"{cause}_ns" for cause in ATTRIBUTION[4:]),
)
"""The counts of `Counters` that divide the time of a layer among causes."""


class Gpu(Engine):
    """Do one GPU's part of each step.

    begin(step, share); lead(layer); yield from experts(layer, tokens_of); head()    # layer by layer, with all others
    begin(step, share); yield from share_of_step(...)                                # or by itself
    wait(until_ns); exchange(...)                                                    # for others, and to them
    """

    def __init__(
        self,
        *,
        env: Clock,
        machine: GpuMachine,
        costs: Costs,
        cache: ExpertCache,
        view: RunView,
        policies: Policies,
        timeline: Timeline | None,
    ) -> None:
        super().__init__(
            steps=(),
            costs=costs,
            cache=cache,
            view=view,
            policies=policies,
            step_ended=_ignore,
            timeline=timeline,
            env=env,
            machine=machine.machine,
        )
        self._slowed = None
        self.sources = machine.sources
        if self.sources is not None:
            self._deliver_expert, self.link.deliver = self.link.deliver, self._delivered
        self._step_costs: StepCosts | None = None
        self._times = [getattr(self.counters, name) for name in TIMES_OF_LAYERS]
        self._noted = [[0] * len(self._times) for _ in range(view.num_layers)]

    def begin(self, step: Step, share: Step, *, sees_all: bool) -> None:
        """Begin a step of which this GPU has a share; its policies see all of the step's tokens, or those alone."""
        self._step_costs = self._costs.step(share) if share.tokens else None
        self._view.step = step if sees_all else share
        if self._timeline is not None:
            self._timeline.step_started(step, self.env.now)
        self.dispatch.step_started()

    def lead(self, layer: int) -> None:
        """Do a layer's non-expert work, up to its gate."""
        costs, counters = self._step_costs, self.counters
        if costs is None:
            return
        lead_ns, overhead_ns = costs.lead_ns[layer], costs.lead_overhead_ns[layer]
        if self._timeline is not None:
            self._timeline.non_expert(layer, self.stream.free_ns, lead_ns)
        self.stream.free_ns += lead_ns
        counters.non_expert_compute_ns[layer] += lead_ns - overhead_ns
        counters.runtime_overhead_ns[layer] += overhead_ns

    def experts(self, layer: int, tokens_of: Mapping[int, int]) -> Waits:
        """Do a layer's experts, from the gate on."""
        self.counters.expert_tokens += sum(tokens_of.values())
        yield from self._experts(layer, list(tokens_of), tokens_of)
        if self._has_prefetch:
            yield Timeout(self.env, self.stream.free_ns - self.env.now)
            self.dispatch.layer_ended()

    def head(self, share: Step) -> tuple[int, int]:
        """Do the step's own work for its share; return its time, and the runtime's overhead in it."""
        costs = self._step_costs
        if costs is None or not share.tokens:
            return 0, 0
        self.stream.head(costs.tail_ns, costs.tail_overhead_ns)
        return costs.tail_ns, costs.tail_overhead_ns

    def wait(self, until_ns: int) -> None:
        """Wait for the GPU that is last."""
        wait_ns = until_ns - self.stream.free_ns
        if wait_ns:
            self.counters.barrier_ns += wait_ns
            if self._timeline is not None:
                self._timeline.barrier(self.stream.free_ns, wait_ns)
            self.stream.free_ns = until_ns

    def exchange(self, layer: int, name: str, duration_ns: int, sent_bytes: int) -> None:
        """Take part in an exchange of tokens."""
        if self._timeline is not None and duration_ns:
            self._timeline.all_to_all(layer, name, self.stream.free_ns, duration_ns)
        self.stream.free_ns += duration_ns
        self.counters.all_to_all_ns += duration_ns
        self.counters.all_to_all_bytes += sent_bytes

    def idle(self, until_ns: int) -> None:
        """Have nothing to do until a time."""
        self.counters.idle_ns += until_ns - self.stream.free_ns
        self.stream.free_ns = until_ns

    def since_noted_ns(self, layer: int) -> list[int]:
        """Return what a layer's time went to since this was last asked, by `TIMES_OF_LAYERS`."""
        now = [times[layer] for times in self._times]
        before, self._noted[layer] = self._noted[layer], now
        return [value - noted for value, noted in zip(now, before, strict=True)]

    def close(self) -> None:
        """Note a prefetch that the run does not wait for."""
        cut_short = self.link.serving
        if self._timeline is not None and cut_short is not None and cut_short.started_ns < self.env.now:
            self._timeline.transfer(cut_short, cut_short.started_ns, int(self.env.now))

    def _delivered(self, transfer: Transfer) -> None:
        """Count copies from other GPUs."""
        assert self.sources is not None
        if self.sources.is_from_peer(transfer.key):
            if transfer.is_prefetch:
                self.counters.peer_prefetch_transfers += 1
            else:
                self.counters.peer_demand_transfers += 1
        self._deliver_expert(transfer)


def _ignore(step: Step, now_ns: int) -> None:
    """Leave the end of a step to the lockstep."""
    del step, now_ns
