"""Small runs for the engine and its reference: what goes in, and what must come out alike."""

from dataclasses import dataclass, field

DROPPED = -1


@dataclass
class Case:
    """A small run: `sequences` holds (expert ids [tokens][layers][k], prompt tokens) of each sequence.

    Policies that look at nothing but keys stand in for those that reroute, share and start early: `*_modulus` m is for the
    keys that m divides, 0 for none. `actions` are what a miss policy says of missing keys, in turn by their numbers.
    """

    sequences: list[tuple[list[list[list[int]]], int]]
    num_experts: int
    banks: list[int]
    batch: int
    num_slots: int
    scope: str
    eviction: str
    lookahead: int  # of a perfect prefetcher; 0: none
    grouped: bool
    chunk_ends_ns: list[int]
    lead_ns: list[int]
    tail_ns: int
    expert_base_ns: int
    expert_token_ns: int
    prefill_chunk: int | None = None
    max_tokens: int | None = None
    stall_overhead_ns: int = 0
    cpu_join_overhead_ns: int = 0
    beside_cpu_ppm: int = 0  # of the time for which the stream and the CPU both compute
    gates_asked: int = 0  # at each gate, of the layers that follow
    lookahead_ns: int = 0
    slowed_ppm: int = 0  # of the stream's speed, while the link serves
    # the CPU
    cpu_workers: int = 1
    cpu_slowed_ppm: int = 0  # of a worker's speed, while the link serves
    cpu_base_ns: int = 0
    cpu_token_ns: int = 0
    activation_token_ns: int = 0
    # what becomes of S
    streamed_layers: int = 0  # ahead, of a prefetcher of whole layers; 0: none
    order: str = "first_appearance"
    queue: str = "keep"
    actions: tuple[str, ...] = ("fetch",)
    drop_modulus: int = 0
    swap_modulus: int = 0
    share_modulus: int = 0
    early_modulus: int = 0
    # slots beside the pools, and copies of low precision
    num_staging: int = 0
    num_low: int = 0
    low_chunk_ends_ns: list[int] = field(default_factory=list)
    low_base_ns: int = 0
    # the machine
    num_tiles: int = 1
    tile_overhead_ns: int = 0
    is_pageable: bool = False
    back_ns: int = 0  # 0: what is evicted is not copied back
    # host memory as a cache above NVMe; 0 slots: it holds all
    host_slots: int = 0
    host_eviction: str = "lru"
    host_warm: list[int] = field(default_factory=list)  # what is there at first, as if inserted in this order
    read_ahead: int = 0
    read_ends_ns: list[int] = field(default_factory=list)
    read_demand: int = 1
    # host memory: bytes/s, 0 for enough; what copies and jobs draw
    bandwidth: int = 0
    copy_demand: int = 1
    low_copy_demand: int = 1
    back_demand: int = 1
    job_demand: int = 1

    @property
    def num_banks(self) -> int:
        """Banks of experts."""
        return max(self.banks) + 1

    @property
    def num_keys(self) -> int:
        """Experts in all; a low-precision copy has the key of its expert and this."""
        return self.num_banks * self.num_experts

    def action(self, key: int) -> str:
        """Say what becomes of a missing expert."""
        return self.actions[key % len(self.actions)]

    def rerouted(self, picks: list[int], absent: set[int]) -> list[int]:
        """Say what one token takes for its picks: absent ones are dropped, or give way to the next expert of the bank."""
        taken: list[int] = []
        for key in picks:
            following = key - key % self.num_experts + (key + 1) % self.num_experts
            if key in absent and is_named(key, self.drop_modulus):
                taken.append(DROPPED)
            elif key in absent and is_named(key, self.swap_modulus) and following not in [*picks, *taken]:
                taken.append(following)
            else:
                taken.append(key)
        return taken

    def early(self, upcoming: list[int]) -> dict[int, int]:
        """Say with which experts of the next layer the CPU begins, with how many tokens."""
        return {key: 1 + key % 2 for key in upcoming if is_named(key, self.early_modulus)}

    def admits(self, key: int) -> bool:
        """Say whether the stand-in `picky` lets a key into a full pool."""
        return key % 3 != 0

    def gives_up(self, key: int) -> bool:
        """Say whether a computed key is given up."""
        return self.eviction == "release" or (self.eviction == "generous" and key % 2 == 0)

    def expert_ns(self, key: int, num_tokens: int) -> int:
        """One expert's kernel, by the precision of its key."""
        return (self.expert_base_ns if key < self.num_keys else self.low_base_ns) + self.expert_token_ns * num_tokens

    def group_ns(self, num_tokens: list[int]) -> int:
        """One kernel over several experts."""
        return self.expert_base_ns + self.expert_token_ns * sum(num_tokens)

    def cpu_ns(self, num_tokens: int) -> int:
        """One expert on a worker of the CPU."""
        return self.cpu_base_ns + self.cpu_token_ns * num_tokens

    def cpu_demand(self, duration_ns: int) -> int:
        """What an expert on the CPU draws on memory."""
        return self.job_demand + duration_ns % 3

    def chunks_of(self, key: int) -> list[int]:
        """Return when each chunk of a transfer ends."""
        return self.chunk_ends_ns if key < self.num_keys else self.low_chunk_ends_ns


def is_named(key: int, modulus: int) -> bool:
    """Tell whether a stand-in policy means a key."""
    return modulus > 0 and key % modulus == 0


@dataclass
class Outcome:
    """What the engine must agree with, to the nanosecond and to the count."""

    step_end_ns: list[int] = field(default_factory=list)
    emitted: list[list[int]] = field(default_factory=list)  # sequences that put out a token, by step
    attribution_ns: dict[str, int] = field(default_factory=dict)
    hits: int = 0
    late_hits: int = 0
    misses: int = 0
    wave_fetches: int = 0
    demand_transfers: int = 0
    prefetch_transfers: int = 0
    low_transfers: int = 0
    in_place_transfers: int = 0
    link_busy_ns: int = 0
    issued: int = 0
    dropped: int = 0
    cancelled: int = 0
    useful: int = 0
    late: int = 0
    wasted: int = 0
    unused: int = 0
    cpu_experts: int = 0
    cpu_busy_ns: int = 0
    deferred: int = 0
    low_experts: int = 0
    dropped_picks: int = 0
    swapped_picks: int = 0
    copied_back: int = 0
    back_busy_ns: int = 0
    host_hits: int = 0
    host_late_hits: int = 0
    host_misses: int = 0
    host_evictions: int = 0
    reads: int = 0
    read_busy_ns: int = 0
    reads_ahead: int = 0
    reads_ahead_used: int = 0


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
