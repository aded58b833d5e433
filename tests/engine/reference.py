"""docs/semantics.md as plain loops: no SimPy, no events, lists searched from end to end.

Written for reading, not for speed, and from the text alone: nothing of `simulator` is used here. The clock is that of the
GPU's stream; it moves only in `advance` and where the stream waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.engine.case import DROPPED, Case, Outcome, closed_loop
from tests.engine.plain_cache import PlainCache
from tests.engine.plain_host import PlainHost
from tests.engine.plain_servers import Servers, Work, tiled_end_ns


@dataclass
class OnCpu:
    """Experts that go to the CPU together, and the way of their states and results."""

    jobs: list[Work]
    activation_ns: int


class Reference:
    """One run of a case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.out = Outcome()
        self.steps = closed_loop(case)
        self.visits: list[list[int]] = []  # as recorded: the distinct keys of each visit, in order of first appearance
        for tokens, _ in self.steps:
            for layer in range(len(case.banks)):
                self.visits.append(distinct([token[layer] for token in tokens]))
        self.visit = -1
        self.now_ns = 0  # the stream's time
        self.cache = PlainCache(case, self.visits, self.note_eviction)
        self.host = PlainHost(case, self.cache.next_use) if case.host_slots else None
        self.servers = Servers(
            bandwidth=case.bandwidth,
            num_workers=case.cpu_workers,
            slowed_ppm=case.cpu_slowed_ppm,
            delivered=self.deliver,
            host=self.host,
        )
        self.counts: dict[int, int] = {}  # tokens routed to each expert of the visit
        self.waiting: list[int] = []  # keys that wait for a slot
        self.arrivals: list[int] = []  # keys that have become resident since the gate, in order
        self.unused: set[int] = set()  # prefetched, and not asked for since
        self.deferred: list[OnCpu] = []  # by the layer before
        self.early: dict[int, OnCpu] = {}  # begun at the gate before
        self.reading: Work | None = None  # in place
        self.beside_ns = 0  # what the link has served while the stream worked
        self.slowed_ns = 0  # what the stream has lost by that
        self.computed_ns = 0  # kernels of experts up to the gate

    def run(self) -> Outcome:
        """Run all steps."""
        case, out, servers = self.case, self.out, self.servers
        causes = ("experts", "other", "demand", "late", "behind", "cpu", "nvme", "lost")
        out.attribution_ns = dict.fromkeys(causes, 0)
        for tokens, emits in self.steps:
            self.prefetch()
            for layer in range(len(case.banks)):
                self.launch(case.lead_ns[layer])
                self.visit += 1
                self.cache.visit = self.visit
                self.run_layer(layer, self.reroute([token[layer] for token in tokens]))
            self.launch(case.tail_ns)
            out.step_end_ns.append(self.now_ns)
            out.emitted.append(emits)
        servers.stop()
        out.unused = len(self.unused)
        out.link_busy_ns, out.cpu_busy_ns = servers.link_busy_ns, servers.cpu_busy_ns
        out.back_busy_ns, out.copied_back = servers.back_busy_ns, servers.copied_back
        out.reads, out.read_busy_ns = servers.reads, servers.read_busy_ns
        if self.host is not None:
            out.host_hits, out.host_late_hits, out.host_misses = self.host.hits, self.host.late_hits, self.host.misses
            out.host_evictions = self.host.evictions
            out.reads_ahead, out.reads_ahead_used = self.host.reads_ahead, self.host.reads_ahead_used
        return out

    def launch(self, duration_ns: int) -> None:
        """Do other work than experts'; its launch waits for a copy from pageable memory that is under way."""
        serving = self.servers.fetching
        if self.case.is_pageable and serving is not None and serving.started_ns < self.now_ns:
            self.stall(self.servers.finish_service(), self.servers.now_ns)
        self.work("other", duration_ns)

    def reroute(self, tokens: list[list[int]]) -> list[list[int]]:
        """Let tokens do without experts that are absent, or take others."""
        absent = {key for token in tokens for key in token if self.cache.is_absent(key)}
        taken = [self.case.rerouted(token, absent) for token in tokens]
        changes = [
            new
            for token, changed in zip(tokens, taken, strict=True)
            for old, new in zip(token, changed, strict=True)
            if new != old
        ]
        self.out.dropped_picks += changes.count(DROPPED)
        self.out.swapped_picks += len(changes) - changes.count(DROPPED)
        return [[key for key in token if key != DROPPED] for token in taken]

    def run_layer(self, layer: int, tokens: list[list[int]]) -> None:
        """From the gate on."""
        case, cache, out = self.case, self.cache, self.out
        self.counts = {key: sum(token.count(key) for token in tokens) for key in distinct(tokens)}
        if case.streamed_layers:
            self.counts |= {key: 0 for key in self.bank(layer) if key not in self.counts}
        needed = self.ordered(list(self.counts))
        self.arrivals = []
        self.computed_ns = self.out.attribution_ns["experts"]
        cache.pinned = set(needed)
        hits, late, missed = self.access(needed)
        self.purge(layer)
        is_last = layer == len(case.banks) - 1
        actions = {key: case.action(key) for key in missed}
        actions = {key: "cpu" if is_last and action == "defer" else action for key, action in actions.items()}
        with_action = {name: [key for key in missed if actions[key] == name] for name in ("cpu", "defer", "in_place")}
        standing_in = {key: key + case.num_keys for key in missed if actions[key] == "low"}
        ready, awaited = list(hits), list(late)
        for key in missed:
            if actions[key] == "fetch":
                awaited.append(key)
                self.fetch_or_wait(key)
            elif actions[key] == "low":
                (ready if self.access_low(standing_in[key]) else awaited).append(standing_in[key])
        out.wave_fetches += len(self.waiting)
        out.low_experts += len(standing_in)
        cache.pinned -= {key for key in missed if actions[key] != "fetch"}
        shared = [key for key in hits if case.share_modulus and key % case.share_modulus == 0]
        ready = [key for key in ready if key not in shared]
        cache.pinned -= set(shared)
        if shared:
            self.fetch_waiting()
        self.prefetch()
        gates_ahead = min(case.gates_asked, len(case.banks) - 1 - layer)
        on_cpu = self.begin_on_cpu(with_action["cpu"] + shared, with_action["defer"], layer)
        self.work("lost", gates_ahead * case.lookahead_ns)
        turns = [key for key in (standing_in.get(key, key) for key in needed) if key in ready or key in awaited]
        if case.order == "in_turn":
            self.compute_in_turn(turns, ready)
        else:
            self.compute_as_they_come([key for key in turns if key in ready], awaited)
        for key in with_action["in_place"]:
            self.read_in_place(key)
        if on_cpu:
            self.join(on_cpu)
        cache.pinned = set()
        for key in self.counts:
            if key in hits + late + missed and key not in shared and actions.get(key, "fetch") == "fetch":
                self.give_up(key)

    def ordered(self, keys: list[int]) -> list[int]:
        """Put S into order."""
        if self.case.order in ("by_id", "in_turn"):
            return sorted(keys)
        if self.case.order == "by_load":
            return sorted(keys, key=lambda key: -self.counts[key])
        assert self.case.order == "first_appearance"
        return keys

    def access(self, needed: list[int]) -> tuple[list[int], list[int], list[int]]:
        """Return the hits, the late hits and the misses."""
        cache, out = self.cache, self.out
        hits = [key for key in needed if key in cache.resident]
        late = [key for key in needed if key in cache.in_flight]
        missed = [key for key in needed if cache.is_absent(key)]
        for key in needed:
            if key not in missed:
                cache.touch(key)
            if key in late:
                self.servers.promote(key)
        out.hits += len(hits)
        out.late_hits += len(late)
        out.misses += len(missed)
        out.useful += len(self.unused & set(hits))
        self.unused -= set(hits)
        return hits, late, missed

    def access_low(self, low: int) -> bool:
        """Have a low-precision copy stand for a missing expert; tell if it is there."""
        cache = self.cache
        cache.pinned.add(low)
        if cache.is_absent(low):
            self.fetch_or_wait(low)
            return False
        cache.touch(low)
        self.servers.promote(low)
        return low in cache.resident

    def purge(self, layer: int) -> None:
        """Call off prefetches that wait."""
        ahead = self.case.banks[layer + 1 :]
        for key in self.servers.waiting_prefetches():
            is_passed = key // self.case.num_experts not in ahead
            if self.case.queue == "purge_all" or (self.case.queue == "purge_passed" and is_passed):
                self.servers.call_off(key)
                self.cache.free(key)
                self.unused.discard(key)
                self.out.cancelled += 1

    # what is computed from slots

    def compute_as_they_come(self, ready: list[int], awaited: list[int]) -> None:
        """Compute what is there, then the others as they arrive."""
        grouped = self.case.grouped
        for kernel in [ready] if grouped else [[key] for key in ready]:
            self.compute(kernel)
        left = list(awaited)
        while left:
            if not self.arrived(left):
                self.wait(partial(self.first_arrived, left), left)
            kernel = self.arrived(left) if grouped else self.arrived(left)[:1]
            self.compute(kernel)
            left = [key for key in left if key not in kernel]

    def compute_in_turn(self, turns: list[int], ready: list[int]) -> None:
        """Compute each in its turn; those that wait for a slot let others go first."""
        left = list(turns)

        def next_there() -> int | None:
            turn = next((key for key in left if key not in self.waiting), None)
            return turn if turn in ready or turn in self.arrivals else None

        while left:
            if next_there() is None:
                self.wait(next_there, left)
            key = next_there()
            assert key is not None
            self.compute([key])
            left.remove(key)

    def first_arrived(self, keys: list[int]) -> int | None:
        """Return that of the keys which has arrived first, if any has."""
        return next(iter(self.arrived(keys)), None)

    def arrived(self, keys: list[int]) -> list[int]:
        """Return those of the keys that have arrived, in the order in which they have."""
        return [key for key in self.arrivals if key in keys]

    def compute(self, keys: list[int]) -> None:
        """Run a kernel; then its experts may go, and what waits for a slot tries again."""
        if keys:
            self.work("experts", self.kernel_ns(keys))
        self.cache.pinned -= set(keys)
        if keys:
            self.fetch_waiting()

    def kernel_ns(self, keys: list[int]) -> int:
        """Return the duration of a kernel."""
        counts = [self.counts[key % self.case.num_keys] for key in keys]
        counts = [count for count in counts if count]  # what is waited for because its layer is takes no kernel
        if not counts:
            return 0
        return self.case.group_ns(counts) if self.case.grouped else self.case.expert_ns(keys[0], counts[0])

    def wait(self, next_there: Callable[[], int | None], left: list[int]) -> None:
        """Have the stream wait until the expert is there that it computes next."""
        case = self.case
        stalled, tiles_ns, key = False, 0, None
        while key is None:
            work = self.servers.finish_next([key for key in left if key in self.cache.in_flight])
            key, until_ns = next_there(), self.servers.now_ns
            if key == work.key and case.num_tiles > 1 and until_ns > self.now_ns and self.kernel_ns([key]):
                tiles_ns = (case.num_tiles - 1) * case.tile_overhead_ns
                kernel_ns = self.kernel_ns([key])
                end_ns = tiled_end_ns(work, case.num_tiles, kernel_ns, case.tile_overhead_ns, self.now_ns)
                until_ns = end_ns - kernel_ns - tiles_ns
            stalled = self.stall(work, until_ns) or stalled
            if all(key in self.waiting for key in left):
                self.fetch_waiting()
        lost_ns = tiles_ns + (case.stall_overhead_ns if stalled else 0)
        self.out.attribution_ns["lost"] += lost_ns
        self.now_ns += lost_ns  # what is computed next is known: the clock goes on with its kernel

    def stall(self, work: Work, until_ns: int) -> bool:
        """Have the stream wait until a time, and say what the link was serving; tell if it did wait."""
        cause = (
            "nvme" if work.is_read else "behind" if not work.is_demanded else "late" if work.is_prefetch else "demand"
        )
        return self.work(cause, max(0, until_ns - self.now_ns))

    def work(self, cause: str, duration_ns: int) -> bool:
        """Let the stream's time pass; tell if any does."""
        self.out.attribution_ns[cause] += duration_ns
        self.now_ns += duration_ns
        if self.now_ns >= self.servers.now_ns:  # else tiles of what has arrived by now were computed before
            busy_ns = self.servers.served_ns()
            self.servers.advance(self.now_ns)
            if cause in ("experts", "other", "lost"):
                self.beside_ns += self.servers.served_ns() - busy_ns
                lost_ns = self.beside_ns * self.case.slowed_ppm // 10**6 - self.slowed_ns
                self.slowed_ns += lost_ns
                if lost_ns:
                    self.work("lost", lost_ns)
        return duration_ns > 0

    # what is computed otherwise

    def read_in_place(self, key: int) -> None:
        """Run a kernel that reads its weights over the link."""
        self.reading = reading = self.transfer(key, is_prefetch=False)
        self.servers.fetch(reading)
        kernel_ns = self.kernel_ns([key])
        while reading.end_ns < 0:
            work = self.servers.finish_next([key])
            self.stall(work, self.servers.now_ns - (kernel_ns if work is reading else 0))
        self.work("experts", kernel_ns)

    def begin_on_cpu(self, now: list[int], deferred: list[int], layer: int) -> list[OnCpu]:
        """Give the CPU what it computes for this layer, for this until the next ends, and early; return what is awaited."""
        begun, self.early = self.early, {}
        awaited = self.deferred + [begun[key] for key in now if key in begun]
        awaited += self.queue_on_cpu({key: self.counts[key] for key in now if key not in begun})
        self.deferred = [begun[key] for key in deferred if key in begun]
        self.deferred += self.queue_on_cpu({key: self.counts[key] for key in deferred if key not in begun})
        if layer < len(self.case.banks) - 1:
            for key, num_tokens in self.case.early(self.visits[self.visit + 1]).items():
                self.early[key] = self.queue_on_cpu({key: num_tokens})[0]
        self.out.cpu_experts += len(now) + len(deferred)
        self.out.deferred += len(deferred)
        return awaited

    def queue_on_cpu(self, counts: dict[int, int]) -> list[OnCpu]:
        """Queue experts with their numbers of tokens."""
        jobs = []
        for key, num_tokens in counts.items():
            duration_ns = self.case.cpu_ns(num_tokens)
            jobs.append(Work(key, [duration_ns], self.case.cpu_demand(duration_ns)))
            self.servers.compute(jobs[-1])
        return [OnCpu(jobs, self.case.activation_token_ns * sum(counts.values()))] if jobs else []

    def join(self, groups: list[OnCpu]) -> None:
        """Have the stream wait for the CPU."""
        self.servers.finish_jobs([job for group in groups for job in group.jobs])
        until_ns = max(max(job.end_ns for job in group.jobs) + group.activation_ns for group in groups)
        self.work("cpu", max(0, until_ns - self.now_ns))
        on_cpu_ns = sum(job.end_ns - job.started_ns for group in groups for job in group.jobs) // self.case.cpu_workers
        on_gpu_ns = self.out.attribution_ns["experts"] - self.computed_ns
        both_lose_ns = min(on_gpu_ns, on_cpu_ns) * self.case.beside_cpu_ppm // 10**6
        self.work("lost", self.case.cpu_join_overhead_ns + both_lose_ns)

    # slots and transfers

    def fetch_or_wait(self, key: int) -> None:
        """Issue a demand fetch, or have it wait for a slot."""
        if not self.fetch(key):
            self.waiting.append(key)

    def fetch_waiting(self) -> None:
        """Issue the fetches that wait, until one finds no slot."""
        while self.waiting and self.fetch(self.waiting[0]):
            self.waiting.pop(0)

    def fetch(self, key: int) -> bool:
        """Issue a demand fetch if a slot can be had."""
        cache = self.cache
        passes_through = self.case.num_staging > 0 and cache.is_refused(key)
        if not (cache.stage(key) if passes_through else cache.take_slot(key)):
            return False
        self.servers.fetch(self.transfer(key, is_prefetch=False))
        return True

    def prefetch(self) -> None:
        """Issue what is predicted."""
        cache, case = self.cache, self.case
        stages = case.num_staging > 0 and case.eviction not in ("picky", "belady_bypass")
        for key in self.predicted():
            if not cache.is_absent(key) or key in self.waiting:
                continue
            if not (cache.stage(key) if stages else cache.take_slot(key)):
                self.out.dropped += 1
                continue
            self.out.issued += 1
            self.unused.add(key)
            self.servers.fetch(self.transfer(key, is_prefetch=True))

    def predicted(self) -> list[int]:
        """Name what the next visits use, or all that the next layers have."""
        layers = range(self.visit + 1, self.visit + 1 + self.case.streamed_layers)
        if layers:
            return list(dict.fromkeys(key for layer in layers for key in self.bank(layer % len(self.case.banks))))
        ahead = self.visits[self.visit + 1 :][: self.case.lookahead]
        return [key for visit in ahead for key in visit]

    def bank(self, layer: int) -> range:
        """Return the keys of the bank that a layer draws from."""
        first_key = self.case.banks[layer] * self.case.num_experts
        return range(first_key, first_key + self.case.num_experts)

    def transfer(self, key: int, *, is_prefetch: bool) -> Work:
        """Make a transfer."""
        demand = self.case.copy_demand if key < self.case.num_keys else self.case.low_copy_demand
        return Work(key, self.case.chunks_of(key), demand, is_prefetch=is_prefetch)

    def deliver(self, work: Work) -> None:
        """Take over what the link has brought."""
        out = self.out
        if work is self.reading:
            out.in_place_transfers += 1
            return
        self.cache.arrive(work.key)
        self.arrivals.append(work.key)
        if work.key >= self.case.num_keys:
            out.low_transfers += 1
        elif work.is_prefetch:
            out.prefetch_transfers += 1
        else:
            out.demand_transfers += 1
        if work.is_prefetch and work.is_demanded:
            self.unused.discard(work.key)
            out.late += 1

    def note_eviction(self, key: int) -> None:
        """Count what was fetched in vain, and copy what is evicted back."""
        if key in self.unused:
            self.unused.discard(key)
            self.out.wasted += 1
        if self.case.back_ns:
            self.servers.copy_back(Work(key, [self.case.back_ns], self.case.back_demand))

    def give_up(self, key: int) -> None:
        """Free the slot of an expert that has been computed, if the policy says so."""
        if key in self.cache.resident and key in self.cache.history and self.case.gives_up(key):
            self.cache.lose(key)


def distinct(tokens: list[list[int]]) -> list[int]:
    """Return the keys in order of first appearance."""
    return list(dict.fromkeys(key for token in tokens for key in token))
