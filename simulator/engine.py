"""The engine: one GPU stream and one host-to-device link, driven through the steps of a workload.

The GPU stream is one SimPy process. It lets the clock catch up with the stream only where a decision depends on what else
has happened: at each gate, when it waits for a transfer, when a slot comes free for a fetch that waits, and at the end of
a step; and before each wait, if copies slow the stream (simulator/slowed.py). A hit costs no event.

Limits: one GPU; the gate's result costs nothing to read back; nor does a policy's deciding, beyond `runtime.per_layer` and
`runtime.per_lookahead` of the profile.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import simpy
from simpy.events import Event, Timeout

from simulator.cache import ExpertCache
from simulator.costs.protocol import Costs
from simulator.cpu_experts import OnCpu
from simulator.dispatch import Dispatch, Policies
from simulator.host_cache import HostCache
from simulator.machine import Machine, make_machine
from simulator.metrics.counters import Counters
from simulator.miss.protocol import DROPPED
from simulator.resources.clock import Clock
from simulator.resources.transfers import Transfer
from simulator.run_view import RunView
from simulator.slowed import PPM, Slowed
from simulator.stream import GpuStream
from simulator.tiles import tiled_end_ns
from simulator.timeline import Timeline
from simulator.whole_steps import WholeSteps
from simulator.workload.step import KvCopies, Step, Wait, distinct, distinct_experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """Into how many tiles transfers and kernels are divided, and what each tile but the first costs the stream."""

    count: int = 1
    overhead_ns: int = 0


WHOLE = Tiles()


StepEnded = Callable[[Step, int], None]
KvCopyNs = Callable[[int, bool], int]
Waits = Generator[simpy.Event, None, None]
TokensOf = Mapping[int, int] | None


class Engine:
    """Run steps through the GPU stream, the link and the CPU's workers, counting as it goes.

    `steps` is asked for the next step when `step_ended` has been told of the one before and the time when its tokens are
    out; it may give a `Wait` instead, after which it is asked again. `kv_copy_ns`, needed where steps have KV cache copied,
    gives the time of a copy from its bytes and whether it goes to the host. `env` and `machine`, if given, are those that
    this GPU is a part of.

    Engines that share an `env` run side by side: each is started, the clock runs, and each is stopped.
    """

    def __init__(
        self,
        *,
        steps: Iterable[Step | Wait],
        costs: Costs,
        cache: ExpertCache,
        view: RunView,
        policies: Policies,
        step_ended: StepEnded,
        timeline: Timeline | None = None,
        env: Clock | None = None,
        machine: Machine | None = None,
        shares_memory: bool = False,
        writes_back: bool = False,
        is_pageable: bool = False,
        tiles: Tiles = WHOLE,
        kv_copy_ns: KvCopyNs | None = None,
        host: HostCache | None = None,
    ) -> None:
        self.env = Clock() if env is None else env
        self._kv_copy_ns = kv_copy_ns
        self._kv_key = 2 * view.num_keys
        self._kv_in_ns: Sequence[int] = (0,)
        self._is_kv_here = True
        machine = machine or make_machine(
            self.env,
            costs,
            num_keys=view.num_keys,
            timeline=timeline,
            shares_memory=shares_memory,
            writes_back=writes_back,
            keeps_stretches=tiles.count > 1,
            kv_in_ns=None if kv_copy_ns is None else lambda: self._kv_in_ns,
            host=host,
        )
        self.link, self._write_back, self._cpu = machine.link, machine.write_back, machine.cpu
        self.host, self._channel = machine.host, machine.channel
        self.dispatch = Dispatch(
            view=view,
            cache=cache,
            channel=self._channel,
            policies=policies,
            timeline=timeline,
            now_ns=lambda: self.env.now,
            evicted=None if self._write_back is None else (self.host or self._write_back).evict,
        )
        if self.host is not None:
            self.host.awaited = self.dispatch.awaited
        self._channel.deliver = self.dispatch.deliver if kv_copy_ns is None else self._deliver
        self.counters = self.dispatch.counters
        self.stream = GpuStream(costs, self.counters, timeline, num_keys=view.num_keys)
        self.stream.skips_unused = self.dispatch.whole_layers
        self._steps = steps
        self._costs = costs
        self._view = view
        self._has_prefetch = policies.prefetch is not None
        self._step_ended = step_ended
        self._timeline = timeline
        self._tiles = tiles
        self._tiles_overhead_ns = (tiles.count - 1) * tiles.overhead_ns
        self._is_pageable = is_pageable
        self._wait: Wait | None = None
        self._num_lookaheads = 0
        view.applies_ahead = self._count_lookahead if costs.lookahead_ns else None
        self._slowed = Slowed(self.link.busy_ns, ppm=costs.slowed_ppm) if costs.slowed_ppm else None
        self._whole = WholeSteps.where_possible(self.dispatch, costs, policies, view, timeline)

    def run(self) -> None:
        """Run to the end of the last step."""
        self.env.run(until=self.start())
        self.stop()

    def start(self) -> simpy.Process:
        """Have the steps run as the clock does; return what ends with the last of them."""
        self._process = self.env.process(self._gpu_stream())
        return self._process

    def stop(self) -> None:
        """Note that the run ends now, if it may be later than the last step."""
        self.counters.idle_ns += self.env.now - self.stream.free_ns
        self.stream.free_ns = self.env.now
        cut_short = self.link.serving  # a prefetch that the run does not wait for; the link was busy with it
        if self._timeline is not None and cut_short is not None and cut_short.started_ns < self.env.now:
            self._timeline.transfer(cut_short, cut_short.started_ns, int(self.env.now))
        if self._timeline is not None and self.host is not None:
            self.host.close(self._timeline)

    def wake(self) -> None:
        """End a wait before its time. Nothing happens where nothing waits."""
        wait = self._wait
        if wait is not None and (wait.until_ns is None or wait.until_ns > self.env.now):
            self._wait = None
            self._process.interrupt()

    def snapshot(self) -> Counters:
        """Return the counts up to now."""
        counters = self.counters
        if self._whole is not None:
            self._whole.count()
        counters.now_ns = self.env.now
        counters.link_busy_ns = self.link.busy_ns()
        counters.cpu_busy_ns = self._cpu.busy_ns()
        if self._write_back is not None:
            counters.write_backs, counters.write_back_busy_ns = self._write_back.num_copied, self._write_back.busy_ns()
        if self.host is not None:
            self.host.count(counters)
        return counters.copy()

    def h2d_busy_ns(self) -> int:
        """Return for how long the link has been serving, up to now."""
        return self.link.busy_ns()

    def num_unused_prefetches(self) -> int:
        """Count the prefetched experts that no gate has asked for yet and that nothing has evicted."""
        return self.dispatch.num_unused_prefetches()

    def causes_ns(self) -> list[int]:
        """Return what the stream's time up to the latest step's end went to, by `ATTRIBUTION`, and to copies of KV cache."""
        counters, whole = self.counters, self._whole
        expert_ns, non_expert_ns, overhead_ns = (0, 0, 0) if whole is None else whole.pending_ns()
        return [
            sum(counters.expert_compute_ns) + expert_ns,
            sum(counters.non_expert_compute_ns) + non_expert_ns,
            counters.step_compute_ns,
            sum(counters.runtime_overhead_ns) + overhead_ns + counters.step_overhead_ns,
            sum(counters.exposed_demand_fetch_ns),
            sum(counters.exposed_late_prefetch_ns),
            sum(counters.queued_behind_prefetch_ns),
            sum(counters.exposed_cpu_expert_ns),
            sum(counters.exposed_nvme_ns),
            counters.kv_swap_ns,
        ]

    def _gpu_stream(self) -> Waits:
        env, counters, stream, dispatch, timeline = self.env, self.counters, self.stream, self.dispatch, self._timeline
        non_expert_ns, overhead_ns = counters.non_expert_compute_ns, counters.runtime_overhead_ns
        whole, slowed = self._whole, self._slowed
        for step in self._steps:
            if isinstance(step, Wait):
                yield from self._idle(step)
                continue
            step_costs = self._costs.step(step)
            self._view.step = step
            if timeline is not None:
                timeline.step_started(step, env.now)
            if step.copies is not None:
                yield from self._copy_kv(step.copies)
            dispatch.step_started()
            if whole is not None and step.visits is not None and whole.is_resident():
                stream.free_ns += whole.run(step.visits, step_costs)
                yield Timeout(env, stream.free_ns - env.now)
                self._end(step)
                continue
            for layer, lead_ns in enumerate(step_costs.lead_ns):
                if self._is_pageable:
                    yield from self._wait_for_pageable_copy(layer)
                if timeline is not None:
                    timeline.non_expert(layer, stream.free_ns, lead_ns)
                stream.free_ns += lead_ns
                overhead = step_costs.lead_overhead_ns[layer]
                non_expert_ns[layer] += lead_ns - overhead
                overhead_ns[layer] += overhead
                yield Timeout(env, stream.free_ns - env.now)
                if slowed is not None:
                    yield from self._make_up(layer)
                num_tokens: Sequence[int] | None
                if dispatch.reroutes:
                    picks = dispatch.reroute(layer)
                    keys, num_tokens = distinct([[key for key in token if key != DROPPED] for token in picks])
                elif step.visits is not None:
                    keys, num_tokens = step.visits.of_layer(layer)
                else:
                    keys, num_tokens = distinct_experts(step.tokens, layer)
                tokens_of: TokensOf = dict(zip(keys, num_tokens, strict=True)) if num_tokens is not None else None
                if dispatch.whole_layers:
                    keys, tokens_of = dispatch.whole_layer(layer, keys, tokens_of)
                yield from self._experts(layer, keys, tokens_of)
                if self._has_prefetch:
                    yield Timeout(env, stream.free_ns - env.now)
                    if slowed is not None:
                        yield from self._make_up(layer)
                    dispatch.layer_ended()
            if self._is_pageable:
                yield from self._wait_for_pageable_copy(self._view.num_layers - 1)
            stream.head(step_costs.tail_ns, step_costs.tail_overhead_ns)
            yield from self._catch_up(self._view.num_layers - 1)
            self._end(step)

    def _catch_up(self, layer: int) -> Waits:
        """Let the clock come to where the stream is."""
        yield Timeout(self.env, self.stream.free_ns - self.env.now)
        if self._slowed is not None:
            yield from self._make_up(layer)

    def _make_up(self, layer: int) -> Waits:
        """Have the stream lose what copies took from it, now that the clock is where it is; and the same of that time."""
        assert self._slowed is not None
        while lost_ns := self._slowed.lost_ns():
            self.stream.lose(layer, lost_ns)
            yield Timeout(self.env, self.stream.free_ns - self.env.now)

    def _has_waited(self) -> None:
        """Note that the stream works again from now on."""
        if self._slowed is not None:
            self._slowed.begin()

    def _count_lookahead(self, distance: int) -> None:
        del distance
        self._num_lookaheads += 1

    def _end(self, step: Step) -> None:
        """Count a step whose tokens are out, and say so."""
        count_step(self.counters, step)
        self._step_ended(step, self.env.now)

    def _idle(self, wait: Wait) -> Waits:
        """Let time pass in which there is nothing to compute."""
        env, stream = self.env, self.stream
        self._wait = wait
        with suppress(simpy.Interrupt):
            yield Event(env) if wait.until_ns is None else Timeout(env, wait.until_ns - env.now)
        self._wait = None
        self.counters.idle_ns += env.now - stream.free_ns
        stream.free_ns = env.now
        self._has_waited()

    def _copy_kv(self, copies: KvCopies) -> Waits:
        """Copy KV cache to the host, then some back over the link, in its turn; the stream waits for both."""
        env, link, stream, counters = self.env, self.link, self.stream, self.counters
        assert self._kv_copy_ns is not None, "steps have KV cache copied, and nobody knows how long that takes"
        started_ns = env.now
        counters.kv_out_bytes += copies.out_bytes
        counters.kv_in_bytes += copies.in_bytes
        if copies.out_bytes:
            out_ns = self._kv_copy_ns(copies.out_bytes, True)
            counters.kv_out_ns += out_ns
            yield Timeout(env, out_ns)
        if copies.in_bytes:
            self._kv_in_ns = (self._kv_copy_ns(copies.in_bytes, False),)
            self._is_kv_here = False
            link.demand(self._kv_key)
            while not self._is_kv_here:
                assert link.end_of_service is not None
                yield link.end_of_service
        counters.kv_swap_ns += env.now - started_ns
        stream.free_ns = env.now
        self._has_waited()

    def _deliver(self, transfer: Transfer) -> None:
        """Take over what the link has brought: an expert, or KV cache."""
        if transfer.key == self._kv_key:
            self._is_kv_here = True
        else:
            self.dispatch.deliver(transfer)

    def _experts(self, layer: int, keys: Sequence[int], tokens_of: TokensOf) -> Waits:
        """Run one layer's experts, from the gate on: those that are resident, then the others as they arrive."""
        env, channel, stream, dispatch = self.env, self._channel, self.stream, self.dispatch
        arrived, grouped = dispatch.arrived, self._costs.kernels_are_grouped
        ready, left, waiting, on_cpu = dispatch.gate(layer, keys, tokens_of)
        if self._num_lookaheads:
            stream.lose(layer, self._num_lookaheads * self._costs.lookahead_ns)
            self._num_lookaheads = 0
        awaited: list[OnCpu] = []
        if on_cpu or dispatch.deferred or dispatch.early or self._cpu.is_busy():
            awaited = self._cpu.begin(layer, on_cpu, dispatch.deferred, dispatch.early, tokens_of)
            computed_ns = self.counters.expert_compute_ns[layer]
        if dispatch.in_turn:
            yield from self._compute_in_turn(layer, ready, waiting, tokens_of)
            ready, left = (), 0
        if waiting:
            for group in [ready] if grouped else [[key] for key in ready]:
                stream.compute(layer, group, tokens_of)
                if waiting and group:
                    yield from self._give_up_slots(layer, group, waiting)
        elif ready:
            stream.compute(layer, ready, tokens_of)
        looks_closely = grouped or self._slowed is not None
        while left:
            if looks_closely and stream.free_ns > env.now:
                yield from self._catch_up(layer)
            stalled, tiles_ns = False, 0
            while not arrived:
                transfer, end_of_service = channel.serving, channel.end_of_service
                assert transfer is not None
                assert end_of_service is not None, "a layer waits for a transfer that nobody has asked for"
                yield end_of_service
                self._has_waited()
                until_ns = env.now
                if until_ns > stream.free_ns and arrived and self._is_computed_in_tiles(transfer, tokens_of):
                    until_ns = self._waits_for_tiles_until_ns(transfer, tokens_of)
                    tiles_ns = self._tiles_overhead_ns
                if until_ns > stream.free_ns:
                    stream.stall(layer, transfer, until_ns)
                    stalled = True
                if len(waiting) == left:  # nothing of this layer is on its way: what arrived may make room for it
                    dispatch.fetch_waiting(waiting)
            if stalled or tiles_ns:
                stream.lose(layer, tiles_ns + (self._costs.stall_overhead_ns if stalled else 0))
            came: Sequence[int] = [arrived.popleft()]
            if grouped:
                came = [*came, *arrived]
                arrived.clear()
            left -= len(came)
            stream.compute(layer, came, tokens_of)
            if waiting:
                yield from self._give_up_slots(layer, came, waiting)
        if dispatch.in_place:
            yield from self._read_in_place(layer, dispatch.in_place, tokens_of)
        if awaited:
            if self._slowed is not None:
                yield from self._catch_up(layer)
            busy_ns = yield from self._cpu.join(stream, layer, awaited)
            if self._slowed is not None:
                yield Timeout(env, stream.free_ns - env.now)
                self._slowed.begin()
            both_ns = min(self.counters.expert_compute_ns[layer] - computed_ns, busy_ns)
            stream.lose(layer, self._costs.cpu_join_overhead_ns + both_ns * self._costs.beside_cpu_ppm // PPM)
        if dispatch.gives_up:
            yield from self._catch_up(layer)
        dispatch.computed(keys)

    def _compute_in_turn(self, layer: int, ready: Sequence[int], waiting: deque[int], tokens_of: TokensOf) -> Waits:
        """Compute each expert in its turn, whichever are there before. Those that wait for a slot let others go first."""
        stream, dispatch = self.stream, self.dispatch
        there, left = set(ready), list(dispatch.turns)

        def next_there() -> int | None:
            there.update(dispatch.arrived)
            dispatch.arrived.clear()
            key = next((one for one in left if one not in waiting), None)
            return key if key in there else None

        def waits_alone() -> bool:
            return len(waiting) == len(left)

        while left:
            if self._slowed is not None and next_there() is None:
                yield from self._catch_up(layer)
            if next_there() is None:
                yield from self._wait_for_turn(layer, next_there, waiting, waits_alone, tokens_of)
            key = next_there()
            assert key is not None
            left.remove(key)
            stream.compute(layer, [key], tokens_of)
            if waiting:
                yield from self._give_up_slots(layer, [key], waiting)

    def _wait_for_turn(
        self,
        layer: int,
        next_there: Callable[[], int | None],
        waiting: deque[int],
        waits_alone: Callable[[], bool],
        tokens_of: TokensOf,
    ) -> Waits:
        """Let time pass until the expert has arrived that is computed next: `next_there` then says which.

        With tiles, the stream has computed what came before the last tile by then: it has waited so much less. Where
        `waits_alone` says that nothing of this layer is on its way, what arrived may make room for it.
        """
        channel, env, stream, dispatch = self._channel, self.env, self.stream, self.dispatch
        key, stalled, tiles_ns = None, False, 0
        while key is None:
            transfer, end_of_service = channel.serving, channel.end_of_service
            assert transfer is not None
            assert end_of_service is not None, "a layer waits for a transfer that nobody has asked for"
            yield end_of_service
            self._has_waited()
            key, until_ns = next_there(), env.now
            if until_ns > stream.free_ns and key == transfer.key and self._is_computed_in_tiles(transfer, tokens_of):
                until_ns = self._waits_for_tiles_until_ns(transfer, tokens_of)
                tiles_ns = self._tiles_overhead_ns
            if until_ns > stream.free_ns:
                stream.stall(layer, transfer, until_ns)
                stalled = True
            if waits_alone():
                dispatch.fetch_waiting(waiting)
        stream.lose(layer, tiles_ns + (self._costs.stall_overhead_ns if stalled else 0))

    def _is_computed_in_tiles(self, transfer: Transfer, tokens_of: TokensOf) -> bool:
        """Tell whether tiles of a transfer are computed as they come: not where no token uses its expert."""
        return transfer.stretches is not None and self.stream.kernel_ns([transfer.key], tokens_of) > 0

    def _waits_for_tiles_until_ns(self, transfer: Transfer, tokens_of: TokensOf) -> int:
        """Return until when the stream waits, in one piece, for an expert that it computes tile by tile as it comes."""
        assert transfer.stretches is not None
        kernel_ns = self.stream.expert_ns(transfer.key, tokens_of)
        end_ns = tiled_end_ns(
            stream_free_ns=self.stream.free_ns,
            stretches=transfer.stretches,
            num_tiles=self._tiles.count,
            kernel_ns=kernel_ns,
            overhead_ns=self._tiles.overhead_ns,
        )
        return end_ns - kernel_ns - self._tiles_overhead_ns

    def _read_in_place(self, layer: int, keys: Sequence[int], tokens_of: TokensOf) -> Waits:
        """Compute experts, one by one, whose weights the kernel reads over the link as it runs."""
        channel, env, stream, dispatch = self._channel, self.env, self.stream, self.dispatch
        for key in keys:
            yield from self._catch_up(layer)
            dispatch.read_in_place(key)
            while not dispatch.arrived:
                transfer, end_of_service = channel.serving, channel.end_of_service
                assert transfer is not None
                assert end_of_service is not None
                yield end_of_service
                self._has_waited()
                kernel_ns = stream.kernel_ns([key], tokens_of) if dispatch.arrived else 0  # it runs while it reads
                if env.now - kernel_ns > stream.free_ns:
                    stream.stall(layer, transfer, env.now - kernel_ns)
            dispatch.arrived.clear()
            stream.compute(layer, [key], tokens_of)

    def _give_up_slots(self, layer: int, computed: Iterable[int], waiting: deque[int]) -> Waits:
        """When experts have been computed, unpin them and fetch what waits for a slot."""
        yield from self._catch_up(layer)
        self.dispatch.unpin(computed)
        self.dispatch.fetch_waiting(waiting)

    def _wait_for_pageable_copy(self, layer: int) -> Waits:
        """Have the stream wait for a copy from pageable memory, inside which the thread is that would give it work."""
        env, link, stream = self.env, self.link, self.stream
        yield from self._catch_up(layer)
        transfer, end_of_service = link.serving, link.end_of_service
        if link.is_under_way() and transfer is not None and end_of_service is not None:
            yield end_of_service
            self._has_waited()
            stream.stall(layer, transfer, env.now)


def count_step(counters: Counters, step: Step) -> None:
    """Count a step whose tokens are out."""
    counters.steps += 1
    counters.routed_tokens += len(step.tokens)
    counters.output_tokens += len(step.emits)
    if step.is_prefill:
        counters.prefill_tokens += len(step.tokens)
    else:
        counters.decode_steps += 1
        counters.prefill_tokens += step.mixed_prompt_tokens
