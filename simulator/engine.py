"""The engine: one GPU stream and one host-to-device link, driven through the steps of a workload.

The GPU stream is one SimPy process. Its own work needs no events: `stream_free_ns`, the time at which it comes free, runs
ahead of the clock, and the process lets the clock catch up only where a decision depends on what else has happened: at each
gate, when it waits for a transfer, when a slot comes free for a fetch that waits, and at the end of a step. A hit costs no
event.

Limits: one GPU; the gate's result costs nothing to read back; the link and the GPU's memory do not slow each other.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial

import simpy
from simpy.events import Timeout

from simulator.cache import ExpertCache
from simulator.costs.protocol import Costs
from simulator.dispatch import Dispatch
from simulator.metrics.counters import Counters
from simulator.miss.protocol import Miss
from simulator.prefetch.protocol import Prefetch
from simulator.resources.clock import Clock
from simulator.resources.cpu import CpuWorkers
from simulator.resources.link import Link
from simulator.resources.transfers import Transfer
from simulator.run_view import RunView
from simulator.timeline import Timeline
from simulator.workload.step import Step, TokenLookahead, distinct_experts

StepEnded = Callable[[Step, int], None]


class Engine:
    """Run steps through the GPU stream, the link and the CPU's workers, counting as it goes.

    `step_ended` is called with each step and the time when its tokens are out.
    """

    def __init__(
        self,
        *,
        steps: Iterable[Step],
        costs: Costs,
        cache: ExpertCache,
        view: RunView,
        prefetch: Prefetch | None,
        miss: Miss,
        step_ended: StepEnded,
        timeline: Timeline | None = None,
    ) -> None:
        self.env = Clock()
        self.link = Link(
            self.env,
            chunk_ends_ns=costs.chunk_ends_ns,
            deliver=_nobody_to_deliver_to,
            on_service=timeline.transfer if timeline is not None else None,
        )
        self.dispatch = Dispatch(
            view=view,
            cache=cache,
            channel=self.link,
            prefetch=prefetch,
            miss=miss,
            timeline=timeline,
            now_ns=lambda: self.env.now,
        )
        self.link.deliver = self.dispatch.deliver
        self.counters = self.dispatch.counters
        self._steps = steps
        self._costs = costs
        self._view = view
        self._has_prefetch = prefetch is not None
        self._step_ended = step_ended
        self._timeline = timeline
        self._stream_free_ns = 0
        self._cpu = CpuWorkers(costs.num_cpu_workers)
        self._cpu_done_ns = 0

    def run(self) -> None:
        """Run to the end of the last step."""
        self.env.run(until=self.env.process(self._gpu_stream()))
        cut_short = self.link.serving  # a prefetch that the run does not wait for; the link was busy with it
        if self._timeline is not None and cut_short is not None and cut_short.started_ns < self.env.now:
            self._timeline.transfer(cut_short, cut_short.started_ns, int(self.env.now))

    def snapshot(self) -> Counters:
        """Return the counts up to now."""
        counters = self.counters
        counters.now_ns = self.env.now
        counters.link_busy_ns = self.link.busy_ns()
        return counters.copy()

    def _gpu_stream(self) -> Generator[simpy.Event, None, None]:
        env, counters, view = self.env, self.counters, self._view
        non_expert_ns, overhead_ns = counters.non_expert_compute_ns, counters.runtime_overhead_ns
        for step in self._steps:
            step_costs = self._costs.step(step)
            if self._timeline is not None:
                self._timeline.step_started(step, env.now)
            if step.lookahead is not None:
                view.predict = partial(_recorded_picks, view, step.lookahead)
            self.dispatch.step_started()
            for layer, lead_ns in enumerate(step_costs.lead_ns):
                if self._timeline is not None:
                    self._timeline.non_expert(layer, self._stream_free_ns, lead_ns)
                self._stream_free_ns += lead_ns
                overhead = step_costs.lead_overhead_ns[layer]
                non_expert_ns[layer] += lead_ns - overhead
                overhead_ns[layer] += overhead
                yield Timeout(env, self._stream_free_ns - env.now)
                keys, num_tokens = distinct_experts(step.tokens, layer)
                yield from self._experts(layer, keys, num_tokens)
                if self._has_prefetch:
                    yield Timeout(env, self._stream_free_ns - env.now)
                    self.dispatch.layer_ended()
            if self._timeline is not None:
                self._timeline.head(self._stream_free_ns, step_costs.tail_ns)
            self._stream_free_ns += step_costs.tail_ns
            counters.step_compute_ns += step_costs.tail_ns - step_costs.tail_overhead_ns
            counters.step_overhead_ns += step_costs.tail_overhead_ns
            yield Timeout(env, self._stream_free_ns - env.now)
            counters.steps += 1
            counters.output_tokens += len(step.emits)
            if step.is_prefill:
                counters.prefill_tokens += len(step.tokens)
            else:
                counters.decode_steps += 1
            self._step_ended(step, env.now)

    def _experts(
        self, layer: int, keys: Sequence[int], num_tokens: Sequence[int] | None
    ) -> Generator[simpy.Event, None, None]:
        """Run one layer's experts, from the gate on. `num_tokens` is None where each expert has one token."""
        link, env, costs, dispatch = self.link, self.env, self._costs, self.dispatch
        arrived = dispatch.arrived
        tokens_of = dict(zip(keys, num_tokens, strict=True)) if num_tokens is not None else None
        hits, left, waiting, on_cpu = dispatch.gate(layer, keys, tokens_of)
        if on_cpu:
            self._start_on_cpu(layer, on_cpu, tokens_of)
        grouped = costs.kernels_are_grouped
        if waiting:
            for group in [hits] if grouped else [[key] for key in hits]:
                self._compute(layer, group, tokens_of)
                if waiting and group:
                    yield from self._give_up_slots(group, waiting)
        elif hits:
            self._compute(layer, hits, tokens_of)
        while left:
            if grouped and self._stream_free_ns > env.now:
                yield Timeout(env, self._stream_free_ns - env.now)
            stalled = False
            while not arrived:
                transfer, end_of_service = link.serving, link.end_of_service
                assert transfer is not None
                assert end_of_service is not None, "a layer waits for a transfer that nobody has asked for"
                yield end_of_service
                now_ns = env.now
                if now_ns > self._stream_free_ns:
                    self._stall(layer, transfer, now_ns)
                    stalled = True
                if len(waiting) == left:  # nothing of this layer is on its way: what arrived may make room for it
                    dispatch.fetch_waiting(waiting)
            if stalled:
                self._lose(layer, costs.stall_overhead_ns)
            ready = [arrived.popleft()]
            if grouped:
                ready.extend(arrived)
                arrived.clear()
            self._compute(layer, ready, tokens_of)
            left -= len(ready)
            if waiting:
                yield from self._give_up_slots(ready, waiting)
        if on_cpu:
            self._join_cpu(layer)
        dispatch.unpin([key for key in keys if key not in on_cpu] if on_cpu else keys)

    def _compute(self, layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> None:
        """Put resident experts on the stream: one kernel each, or one for all."""
        costs = self._costs
        if costs.kernels_are_grouped:
            num_tokens = [tokens_of[key] if tokens_of else 1 for key in keys]
            kernels = [(keys, costs.group_ns(num_tokens))] if keys else []
        elif tokens_of is None and self._timeline is None:
            duration_ns = costs.expert_ns(1) * len(keys)
            self._stream_free_ns += duration_ns
            self.counters.expert_compute_ns[layer] += duration_ns
            return
        else:
            kernels = [([key], costs.expert_ns(tokens_of[key] if tokens_of else 1)) for key in keys]
        for computed, duration_ns in kernels:
            if self._timeline is not None:
                self._timeline.experts(layer, computed, self._stream_free_ns, duration_ns)
            self._stream_free_ns += duration_ns
            self.counters.expert_compute_ns[layer] += duration_ns

    def _stall(self, layer: int, transfer: Transfer, now_ns: int) -> None:
        """Say what the stream waited for from the time it came free until now: the end of a service of the link."""
        counters = self.counters
        stall_ns = now_ns - self._stream_free_ns
        if not transfer.is_demanded:
            counters.queued_behind_prefetch_ns[layer] += stall_ns
        elif transfer.is_prefetch:
            counters.exposed_late_prefetch_ns[layer] += stall_ns
        else:
            counters.exposed_demand_fetch_ns[layer] += stall_ns
        if self._timeline is not None:
            self._timeline.stall(layer, transfer, self._stream_free_ns, stall_ns)
        self._stream_free_ns = now_ns

    def _lose(self, layer: int, overhead_ns: int) -> None:
        """Have the stream lose time after a wait."""
        if overhead_ns:
            self.counters.runtime_overhead_ns[layer] += overhead_ns
            if self._timeline is not None:
                self._timeline.overhead(layer, self._stream_free_ns, overhead_ns)
            self._stream_free_ns += overhead_ns

    def _give_up_slots(self, computed: Iterable[int], waiting: deque[int]) -> Generator[simpy.Event, None, None]:
        """When experts have been computed, unpin them and fetch what waits for a slot."""
        yield Timeout(self.env, self._stream_free_ns - self.env.now)
        self.dispatch.unpin(computed)
        self.dispatch.fetch_waiting(waiting)

    def _start_on_cpu(self, layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> None:
        """Queue experts for the CPU's workers, in order."""
        counters, now_ns = self.counters, int(self.env.now)
        self._cpu_done_ns = now_ns
        num_rows = 0
        for key in keys:
            num_tokens = tokens_of[key] if tokens_of else 1
            num_rows += num_tokens
            job = self._cpu.queue(now_ns, self._costs.cpu_expert_ns(num_tokens))
            counters.cpu_busy_ns += job.end_ns - job.start_ns
            self._cpu_done_ns = max(self._cpu_done_ns, job.end_ns)
            if self._timeline is not None:
                self._timeline.cpu_expert(layer, key, job.worker, job.start_ns, job.end_ns - job.start_ns)
        self._cpu_done_ns += self._costs.activation_ns(num_rows)

    def _join_cpu(self, layer: int) -> None:
        """Have the stream wait for what the CPU computes of this layer."""
        stall_ns = self._cpu_done_ns - self._stream_free_ns
        if stall_ns > 0:
            self.counters.exposed_cpu_expert_ns[layer] += stall_ns
            if self._timeline is not None:
                self._timeline.cpu_stall(layer, self._stream_free_ns, stall_ns)
            self._stream_free_ns = self._cpu_done_ns


def _nobody_to_deliver_to(transfer: Transfer) -> None:
    raise AssertionError(f"expert {transfer.key} arrived before anyone asked")


def _recorded_picks(view: RunView, lookahead: Sequence[TokenLookahead], distance: int) -> Sequence[Sequence[int]]:
    """Return the recorded picks of the gate `distance` layers after the current one."""
    layer = view.visit % view.num_layers
    return [token[layer][distance - 1] for token in lookahead]
