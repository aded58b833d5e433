"""The engine: one GPU stream and one host-to-device link, driven through the steps of a workload.

The GPU stream is one SimPy process. Its own work needs no events: `stream_free_ns`, the time at which it comes free, runs
ahead of the clock, and the process lets the clock catch up only where a decision depends on what else has happened: at each
gate, when it waits for a transfer, when a slot comes free for a fetch that waits, and at the end of a step. A hit costs no
event.

Limits: one GPU; the gate's result costs nothing to read back; the link and the GPU's memory do not slow each other.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet

import simpy
from simpy.events import Timeout

from simulator.cache import ABSENT, IN_FLIGHT, RESIDENT, ExpertCache
from simulator.costs.protocol import Costs
from simulator.metrics.counters import Counters
from simulator.miss.protocol import Miss, MissAction
from simulator.oracle import RecordedFuture
from simulator.prefetch.protocol import Prefetch
from simulator.resources.clock import Clock
from simulator.resources.link import Link
from simulator.resources.transfers import Transfer
from simulator.timeline import Timeline
from simulator.view import Oracle
from simulator.workload.step import Step, distinct_experts

StepEnded = Callable[[Step, int], None]


class RunView:
    """The engine's `simulator.view.View`. Made before the policies, which are built with it.

    `make_future` is called when a policy first asks for the oracle.
    """

    def __init__(self, *, num_layers: int, make_future: Callable[[], RecordedFuture]) -> None:
        self.num_layers = num_layers
        self.visit = -1
        self.held_keys: set[int] = set()
        self.cache: ExpertCache | None = None
        self.future: RecordedFuture | None = None
        self._make_future = make_future

    @property
    def held(self) -> AbstractSet[int]:
        """The keys that cannot be evicted now."""
        return self.held_keys

    @property
    def oracle(self) -> Oracle:
        """The routing to come."""
        if self.future is None:
            self.future = self._make_future()
        return self.future

    def is_resident(self, key: int) -> bool:
        """Tell whether the expert can be computed on the GPU now."""
        return self.cache is not None and self.cache.state[key] == RESIDENT

    def is_in_flight(self, key: int) -> bool:
        """Tell whether the expert has a slot and is queued or being transferred."""
        return self.cache is not None and self.cache.state[key] == IN_FLIGHT


class Engine:
    """Run steps through the GPU stream and the link, counting as it goes.

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
            deliver=self._deliver,
            on_service=timeline.transfer if timeline is not None else None,
        )
        self.counters = Counters(num_layers=view.num_layers)
        view.cache = cache
        self._steps = steps
        self._costs = costs
        self._cache = cache
        self._view = view
        self._prefetch = prefetch
        self._miss = miss
        self._step_ended = step_ended
        self._timeline = timeline
        self._stream_free_ns = 0
        self._wanted: set[int] = set()  # keys of this visit that are not resident yet
        self._arrived: deque[int] = deque()  # those that have become resident and are not computed yet
        self._unused_prefetches: set[int] = set()
        self._follows_evictions = prefetch is not None or timeline is not None

    def run(self) -> None:
        """Run to the end of the last step."""
        self.env.run(until=self.env.process(self._gpu_stream()))
        cut_short = self.link.serving  # a prefetch that the run does not wait for; the link was busy with it
        if self._timeline is not None and cut_short is not None and cut_short.started_ns < self.env.now:
            self._timeline.transfer(cut_short, cut_short.started_ns, int(self.env.now))

    def num_unused_prefetches(self) -> int:
        """Count the prefetched experts that no gate has asked for yet and that nothing has evicted."""
        return len(self._unused_prefetches)

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
            if self._prefetch is not None:
                self._issue(self._prefetch.at_step_start())
            for layer, lead_ns in enumerate(step_costs.lead_ns):
                if self._timeline is not None:
                    self._timeline.non_expert(layer, self._stream_free_ns, lead_ns)
                self._stream_free_ns += lead_ns
                overhead = step_costs.lead_overhead_ns[layer]
                non_expert_ns[layer] += lead_ns - overhead
                overhead_ns[layer] += overhead
                yield Timeout(env, self._stream_free_ns - env.now)
                view.visit += 1
                if view.future is not None:
                    view.future.advance()
                keys, num_tokens = distinct_experts(step.tokens, layer)
                yield from self._experts(layer, keys, num_tokens)
                if self._prefetch is not None:
                    yield Timeout(env, self._stream_free_ns - env.now)
                    self._issue(self._prefetch.at_layer_end())
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
        cache, counters, link, env, costs = self._cache, self.counters, self.link, self.env, self._costs
        arrived = self._arrived
        state, touch_of_key = cache.state, cache.touch_of_key
        hits, missed = [], []
        num_late = 0
        self._view.held_keys.update(keys)
        for key in keys:
            status = state[key]
            if status == RESIDENT:
                touch_of_key[key](key)
                hits.append(key)
            elif status == IN_FLIGHT:
                touch_of_key[key](key)
                link.promote(key)
                self._wanted.add(key)
                num_late += 1
            else:
                missed.append(key)
        counters.accesses[layer] += len(keys)
        counters.hits[layer] += len(hits)
        tokens_of = dict(zip(keys, num_tokens, strict=True)) if num_tokens is not None else None
        if self._unused_prefetches:
            self._count_prefetches_used(hits)
        counters.late_hits[layer] += num_late
        counters.misses[layer] += len(missed)
        waiting: deque[int] = deque()  # fetches without a slot
        if missed:
            counts = [1] * len(missed) if tokens_of is None else [tokens_of[key] for key in missed]
            for key, action in zip(missed, self._miss.decide(missed, counts), strict=True):
                assert action is MissAction.FETCH
                if not self._fetch(key):
                    waiting.append(key)
            counters.wave_fetches += len(waiting)
        if self._timeline is not None:
            self._timeline.gate(layer, keys, hits, missed, env.now)
            self._timeline.load(env.now, queued=link.num_queued(), occupied=cache.num_occupied())
        if self._prefetch is not None:
            self._issue(self._prefetch.after_gate(keys))

        grouped = costs.kernels_are_grouped
        if waiting:
            for group in [hits] if grouped else [[key] for key in hits]:
                self._compute(layer, group, tokens_of)
                if waiting and group:
                    yield from self._give_up_slots(group, waiting)
        elif hits:
            self._compute(layer, hits, tokens_of)
        left = num_late + len(missed)
        while left:
            if grouped and self._stream_free_ns > env.now:
                yield Timeout(env, self._stream_free_ns - env.now)
            while not arrived:
                transfer, end_of_service = link.serving, link.end_of_service
                assert transfer is not None
                assert end_of_service is not None, "a layer waits for a transfer that nobody has asked for"
                yield end_of_service
                now_ns = env.now
                if now_ns > self._stream_free_ns:
                    self._stall(layer, transfer, now_ns)
                if len(waiting) == left:  # nothing of this layer is on its way: what arrived may make room for it
                    self._fetch_waiting(waiting)
            ready = [arrived.popleft()]
            if grouped:
                ready.extend(arrived)
                arrived.clear()
            self._compute(layer, ready, tokens_of)
            left -= len(ready)
            if waiting:
                yield from self._give_up_slots(ready, waiting)
        self._view.held_keys.difference_update(keys)

    def _compute(self, layer: int, keys: Sequence[int], tokens_of: dict[int, int] | None) -> None:
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

    def _give_up_slots(self, computed: Iterable[int], waiting: deque[int]) -> Generator[simpy.Event, None, None]:
        """When experts have been computed, unpin them and fetch what waits for a slot."""
        yield Timeout(self.env, self._stream_free_ns - self.env.now)
        self._view.held_keys.difference_update(computed)
        self._fetch_waiting(waiting)

    def _fetch_waiting(self, waiting: deque[int]) -> None:
        while waiting and self._fetch(waiting[0]):
            waiting.popleft()

    def _fetch(self, key: int) -> bool:
        """Issue a demand fetch; False if no slot can be had for it."""
        if not self._cache.take_slot(key):
            return False
        if self._follows_evictions and self._cache.evicted is not None:
            self._note_eviction(self._cache.evicted)
        self._wanted.add(key)
        self.link.demand(key)
        return True

    def _issue(self, keys: Sequence[int]) -> None:
        """Queue prefetches for the keys that are absent."""
        state, counters = self._cache.state, self.counters
        for key in keys:
            if state[key] != ABSENT:
                continue
            if not self._cache.take_slot(key):
                counters.prefetches_dropped += 1
                continue
            if self._cache.evicted is not None:
                self._note_eviction(self._cache.evicted)
            counters.prefetches_issued += 1
            self._unused_prefetches.add(key)
            if self._timeline is not None:
                self._timeline.prefetch_issued(key, self.env.now)
            self.link.prefetch(key)

    def _deliver(self, transfer: Transfer) -> None:
        """Take over an expert that the link has brought."""
        key = transfer.key
        self._cache.state[key] = RESIDENT
        if transfer.is_prefetch:
            self.counters.prefetch_transfers += 1
        else:
            self.counters.demand_transfers += 1
        if key in self._wanted:
            self._wanted.discard(key)
            self._arrived.append(key)
            if transfer.is_prefetch:
                self._unused_prefetches.discard(key)
                self.counters.prefetches_late += 1
        else:
            self._view.held_keys.discard(key)

    def _note_eviction(self, key: int) -> None:
        if self._timeline is not None:
            self._timeline.evicted(key)
        if key in self._unused_prefetches:
            self._unused_prefetches.discard(key)
            self.counters.prefetches_wasted += 1

    def _count_prefetches_used(self, hits: Iterable[int]) -> None:
        for key in hits:
            if key in self._unused_prefetches:
                self._unused_prefetches.discard(key)
                self.counters.prefetches_useful += 1
