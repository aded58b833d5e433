"""Section 5 of the design as plain loops: no SimPy, no events, lists searched from end to end.

Written for reading, not for speed, and from the text alone: nothing of `simulator` is used here. Time moves only in
`advance`. At one instant, transfers that end are delivered first, then decisions are taken, then the link picks.
"""

from dataclasses import dataclass, field

NEVER = 10**9


@dataclass
class Case:
    """A small run: `sequences` holds (expert ids [tokens][layers][k], prompt tokens) of each sequence."""

    sequences: list[tuple[list[list[list[int]]], int]]
    num_experts: int
    banks: list[int]
    batch: int
    num_slots: int
    scope: str
    eviction: str
    lookahead: int  # 0: no prefetch
    grouped: bool
    chunk_ends_ns: list[int]
    lead_ns: list[int]
    tail_ns: int
    expert_base_ns: int
    expert_token_ns: int
    prefill_chunk: int | None = None
    max_tokens: int | None = None
    cpu_modulus: int = 0  # 0: all misses are fetched; m: those of keys that m divides go to the CPU
    cpu_workers: int = 1
    cpu_base_ns: int = 0
    cpu_token_ns: int = 0
    activation_token_ns: int = 0
    stall_overhead_ns: int = 0

    def goes_to_cpu(self, key: int) -> bool:
        """Tell whether a missing expert is left to the CPU."""
        return self.cpu_modulus > 0 and key % self.cpu_modulus == 0

    def expert_ns(self, num_tokens: int) -> int:
        """One expert's kernel."""
        return self.expert_base_ns + self.expert_token_ns * num_tokens

    def group_ns(self, num_tokens: list[int]) -> int:
        """One kernel over several experts."""
        return self.expert_base_ns + self.expert_token_ns * sum(num_tokens)


@dataclass
class Outcome:
    """What the engine must agree with, to the nanosecond and to the count."""

    step_end_ns: list[int] = field(default_factory=list)
    hits: int = 0
    late_hits: int = 0
    misses: int = 0
    dropped: int = 0
    link_busy_ns: int = 0
    cpu_experts: int = 0
    cpu_busy_ns: int = 0
    demand_transfers: int = 0
    prefetch_transfers: int = 0
    attribution_ns: dict[str, int] = field(default_factory=dict)
    emitted: list[list[int]] = field(default_factory=list)  # sequences that put out a token, by step


def closed_loop(case: Case) -> list[tuple[list[list[list[int]]], list[int]]]:
    """Return (the keys of each token [n][layers][k], the sequences that put out a token) of each step."""
    keys = [
        [
            [[bank * case.num_experts + e for e in row] for bank, row in zip(case.banks, token, strict=True)]
            for token in ids
        ]
        for ids, _ in case.sequences
    ]
    waiting = list(range(len(keys)))
    batch = [[waiting.pop(0), 0] for _ in range(min(case.batch, len(waiting)))]  # [sequence, tokens done]
    steps = []
    num_out = 0
    while batch and (case.max_tokens is None or num_out < case.max_tokens):
        prefilling = [place for place in batch if place[1] < case.sequences[place[0]][1]]
        if prefilling:
            first = min(prefilling)  # sequences are numbered in the order in which they join
            sequence, done = first
            prompt = case.sequences[sequence][1]
            until = prompt if case.prefill_chunk is None else min(prompt, done + case.prefill_chunk)
            tokens, emits = keys[sequence][done:until], [sequence] if until == prompt else []
            first[1] = until
        else:
            tokens, emits = [keys[sequence][done] for sequence, done in batch], [sequence for sequence, _ in batch]
            for place in batch:
                place[1] += 1
        steps.append((tokens, emits))
        num_out += len(emits)
        for index, (sequence, done) in enumerate(batch):
            if done == len(keys[sequence]):
                batch[index] = [waiting.pop(0), 0] if waiting else [-1, 0]
        batch = [place for place in batch if place[0] >= 0]
    return steps


class Reference:
    """One run of a case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.out = Outcome()
        self.steps = closed_loop(case)
        self.visits: list[list[int]] = []  # the distinct keys of each layer visit, in order of first appearance
        for tokens, _ in self.steps:
            for layer in range(len(case.banks)):
                self.visits.append(list(dict.fromkeys(key for token in tokens for key in token[layer])))
        self.visit = -1
        self.now_ns = 0
        # the cache
        self.resident: set[int] = set()
        self.in_flight: set[int] = set()
        self.pinned: set[int] = set()
        self.history: dict[int, list[int]] = {}  # of each key with a slot: the numbers of its accesses
        self.num_accesses = 0
        # the link
        self.serving: list[int] | None = None  # [key, chunk that is being served, when that chunk ends]
        self.demands: list[list[int]] = []  # [key, chunks done]
        self.prefetches: list[list[int]] = []
        self.is_prefetch: dict[int, bool] = {}
        self.lost_ns = 0  # what the stream loses before its next kernel
        self.worker_free_ns = [0] * case.cpu_workers
        self.arrivals: list[int] = []  # keys in the order in which they have become resident since the gate

    def run(self) -> Outcome:
        """Run all steps."""
        case, out = self.case, self.out
        causes = ("experts", "other", "demand", "late", "behind", "cpu", "lost")
        out.attribution_ns = dict.fromkeys(causes, 0)
        for tokens, emits in self.steps:
            self.prefetch()
            for layer in range(len(case.banks)):
                self.advance(self.now_ns + case.lead_ns[layer])
                out.attribution_ns["other"] += case.lead_ns[layer]
                self.visit += 1
                self.run_layer([key for token in tokens for key in token[layer]])
            self.advance(self.now_ns + case.tail_ns)
            out.attribution_ns["other"] += case.tail_ns
            out.step_end_ns.append(self.now_ns)
            out.emitted.append(emits)
        if self.serving is not None:  # what the link has done of a prefetch that the run does not wait for
            _, chunk, end_ns = self.serving
            out.link_busy_ns += self.now_ns - (end_ns - self.chunk_ns(chunk))
        return out

    def run_layer(self, requests: list[int]) -> None:
        """From the gate on: classify, fetch, compute in the order that the design gives."""
        needed = list(dict.fromkeys(requests))
        self.pinned = set(needed)
        self.arrivals = []
        hits = [key for key in needed if key in self.resident]
        late = [key for key in needed if key in self.in_flight]
        missed = [key for key in needed if key not in self.resident and key not in self.in_flight]
        self.out.hits += len(hits)
        self.out.late_hits += len(late)
        self.out.misses += len(missed)
        for key in needed:
            if key in hits or key in late:
                self.touch(key)
            if key in late:
                self.promote(key)
        on_cpu = [key for key in missed if self.case.goes_to_cpu(key)]
        waiting = [key for key in missed if key not in on_cpu and not self.fetch(key)]
        self.pinned -= set(on_cpu)
        cpu_done_ns = self.run_on_cpu([requests.count(key) for key in on_cpu])
        self.prefetch()
        todo = [key for key in needed if key not in hits and key not in on_cpu]

        def compute(keys: list[int]) -> None:
            counts = [requests.count(key) for key in keys]
            duration_ns = self.case.group_ns(counts) if self.case.grouped else self.case.expert_ns(counts[0])
            self.out.attribution_ns["experts"] += duration_ns
            self.advance(self.now_ns + self.lost_ns + duration_ns)
            self.lost_ns = 0
            self.pinned -= set(keys)
            while waiting and self.fetch(waiting[0]):
                waiting.pop(0)

        for kernel in [hits] if self.case.grouped else [[key] for key in hits]:
            if kernel:
                compute(kernel)
        stalled = False
        while todo:
            ready = [key for key in self.arrivals if key in todo]
            if not ready:
                stalled = self.wait_for_service() or stalled
                if not any(key in self.in_flight or key in self.resident for key in todo):
                    while waiting and self.fetch(waiting[0]):
                        waiting.pop(0)
                continue
            if stalled:
                self.out.attribution_ns["lost"] += self.case.stall_overhead_ns
                self.lost_ns = self.case.stall_overhead_ns
                stalled = False
            kernel = ready if self.case.grouped else ready[:1]
            compute(kernel)
            todo = [key for key in todo if key not in kernel]
        if on_cpu and cpu_done_ns > self.now_ns:
            self.out.attribution_ns["cpu"] += cpu_done_ns - self.now_ns
            self.advance(cpu_done_ns)
        self.pinned = set()

    def run_on_cpu(self, counts: list[int]) -> int:
        """Give each expert to the worker that is free first; return when the results are back on the GPU."""
        ends_ns = [0]
        for tokens in counts:
            worker = self.worker_free_ns.index(min(self.worker_free_ns))
            duration_ns = self.case.cpu_base_ns + self.case.cpu_token_ns * tokens
            self.worker_free_ns[worker] = max(self.now_ns, self.worker_free_ns[worker]) + duration_ns
            ends_ns.append(self.worker_free_ns[worker])
            self.out.cpu_experts += 1
            self.out.cpu_busy_ns += duration_ns
        return max(ends_ns) + self.case.activation_token_ns * sum(counts)

    # the cache

    def pool(self, key: int) -> tuple[int, list[int]]:
        """Return the slots that the key competes for, and the keys that hold one."""
        if self.case.scope == "global":
            return self.case.num_slots, list(self.history)
        num_banks = max(self.case.banks) + 1
        bank = key // self.case.num_experts
        slots = self.case.num_slots // num_banks + (1 if bank < self.case.num_slots % num_banks else 0)
        return slots, [other for other in self.history if other // self.case.num_experts == bank]

    def take_slot(self, key: int) -> bool:
        """Take a free slot, or the victim's."""
        slots, holders = self.pool(key)
        if len(holders) == slots:
            candidates = [other for other in holders if other in self.resident and other not in self.pinned]
            if not candidates:
                return False
            victim = min(candidates, key=self.rank)
            self.resident.remove(victim)
            del self.history[victim]
        self.in_flight.add(key)
        self.num_accesses += 1
        self.history[key] = [self.num_accesses]
        return True

    def touch(self, key: int) -> None:
        """Note an access."""
        self.num_accesses += 1
        self.history[key].append(self.num_accesses)

    def rank(self, key: int) -> tuple[int, int]:
        """Order keys for eviction: the smallest goes first."""
        history = self.history[key]
        if self.case.eviction == "lru":
            return history[-1], 0
        if self.case.eviction == "fifo":
            return history[0], 0
        if self.case.eviction == "lfu":
            return len(history), history[-1]
        assert self.case.eviction == "belady"
        later = [visit for visit in range(self.visit + 1, len(self.visits)) if key in self.visits[visit]]
        return -(later[0] if later else NEVER), key

    # the link

    def fetch(self, key: int) -> bool:
        """Issue a demand fetch if a slot can be had."""
        if not self.take_slot(key):
            return False
        self.is_prefetch[key] = False
        self.demands.append([key, 0])
        return True

    def prefetch(self) -> None:
        """Issue what a perfect predictor asks for."""
        for ahead in range(1, self.case.lookahead + 1):
            for key in self.visits[self.visit + ahead] if self.visit + ahead < len(self.visits) else []:
                if key in self.resident or key in self.in_flight:
                    continue
                if not self.take_slot(key):
                    self.out.dropped += 1
                    continue
                self.is_prefetch[key] = True
                self.prefetches.append([key, 0])

    def promote(self, key: int) -> None:
        """A queued prefetch that a gate asks for joins the demands."""
        for queued in self.prefetches:
            if queued[0] == key:
                self.prefetches.remove(queued)
                self.demands.append(queued)
                return

    def chunk_ns(self, chunk: int) -> int:
        """Return the duration of one chunk."""
        ends = [0, *self.case.chunk_ends_ns]
        return ends[chunk + 1] - ends[chunk]

    def pick(self) -> None:
        """Start the next chunk if the link is idle."""
        if self.serving is None and (self.demands or self.prefetches):
            key, done = self.demands.pop(0) if self.demands else self.prefetches.pop(0)
            self.serving = [key, done, self.now_ns + self.chunk_ns(done)]

    def end_chunk(self) -> None:
        """Deliver the expert after its last chunk; after any other, put it first in its queue."""
        assert self.serving is not None
        key, chunk, end_ns = self.serving
        self.now_ns = end_ns
        self.out.link_busy_ns += self.chunk_ns(chunk)
        self.serving = None
        if chunk + 1 == len(self.case.chunk_ends_ns):
            self.in_flight.remove(key)
            self.resident.add(key)
            self.arrivals.append(key)
            if self.is_prefetch[key]:
                self.out.prefetch_transfers += 1
            else:
                self.out.demand_transfers += 1
        elif self.is_prefetch[key] and key not in self.pinned:
            self.prefetches.insert(0, [key, chunk + 1])
        else:
            self.demands.insert(0, [key, chunk + 1])

    def advance(self, until_ns: int) -> None:
        """Let time pass; chunks that end at `until_ns` have ended, but the link has not picked its next."""
        if until_ns > self.now_ns:
            self.pick()
        while self.serving is not None and self.serving[2] <= until_ns:
            self.end_chunk()
            if self.now_ns < until_ns:
                self.pick()
        self.now_ns = until_ns

    def wait_for_service(self) -> bool:
        """The GPU has nothing to compute: let the link end one chunk, and say what it was serving; tell if time passed."""
        self.pick()
        assert self.serving is not None
        key, _, end_ns = self.serving
        cause = "behind" if key not in self.pinned else "late" if self.is_prefetch[key] else "demand"
        self.out.attribution_ns[cause] += end_ns - self.now_ns
        waited = end_ns > self.now_ns
        self.end_chunk()
        return waited
