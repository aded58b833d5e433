"""Several GPUs by plain loops, for demand fetches: every nanosecond by itself, every cache a list that is searched.

It follows docs/semantics.md, "Several GPUs", and knows nothing of the engine.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from tests.engine.case import Case, closed_loop
from tests.engine.plain_cache import PlainCache

EVERYWHERE = -1


@dataclass
class GpusCase:
    """A small run on several GPUs. `case` says the rest; a GPU's non-expert work also takes `lead_token_ns` for each token.

    `gpu_of_key` are homes, -1 for everywhere. `bandwidth` is shared by copies that want `demand` each. An exchange takes
    `exchange_ns`, and `token_ns` for each token through the busiest port. Without `meets` GPUs go through a step apart.
    """

    case: Case
    num_gpus: int
    gpu_of_key: list[int]
    meets: bool = True
    bandwidth: int = 1 << 40
    demand: int = 1
    lead_token_ns: int = 0
    exchange_ns: int = 0
    token_ns: int = 1

    def keys_of(self, gpu: int) -> list[int]:
        """List what a GPU may compute."""
        return [key for key, home in enumerate(self.gpu_of_key) if home in (gpu, EVERYWHERE)]

    def case_of(self, gpu: int) -> Case:
        """Return the case with the slots of one GPU."""
        return replace(self.case, num_slots=min(self.case.num_slots, len(self.keys_of(gpu))))


@dataclass
class OfGpu:
    """What one GPU did."""

    experts_ns: int = 0
    other_ns: int = 0
    stall_ns: int = 0
    exchange_ns: int = 0
    barrier_ns: int = 0
    link_busy_ns: int = 0
    hits: int = 0
    misses: int = 0
    expert_tokens: int = 0
    sent_tokens: int = 0


@dataclass
class Outcome:
    """What the lockstep must agree with, to the nanosecond and to the count."""

    step_end_ns: list[int] = field(default_factory=list)
    gpus: list[OfGpu] = field(default_factory=list)
    transitions: int = 0
    crossings: int = 0


@dataclass
class Layer:
    """Where the tokens of a layer go."""

    tokens_of: list[dict[int, int]]
    sent: list[list[int]]


class Plain:
    """Run a `GpusCase`."""

    def __init__(self, run: GpusCase) -> None:
        self.run_of = run
        self.now_ns = 0
        self.out = Outcome(gpus=[OfGpu() for _ in range(run.num_gpus)])
        self.steps = [self.follow(tokens, gpus) for tokens, gpus in self.placed_steps()]
        self.caches = [PlainCache(run.case_of(gpu), self.visits(gpu), _nobody) for gpu in range(run.num_gpus)]
        self.queues: list[list[int]] = [[] for _ in range(run.num_gpus)]  # of links, the one in service first
        self.left: list[Fraction] = [Fraction(0)] * run.num_gpus  # of the copy in service
        self.arrived: list[list[int]] = [[] for _ in range(run.num_gpus)]

    def visits(self, gpu: int) -> list[list[int]]:
        """List S of each gate that a GPU passes: apart from the others, only in steps in which it has tokens."""
        steps = [layers for num_tokens, layers in self.steps if self.run_of.meets or num_tokens[gpu]]
        return [list(layer.tokens_of[gpu]) for layers in steps for layer in layers]

    def placed_steps(self) -> Iterator[tuple[list[list[list[int]]], list[int]]]:
        """Yield the tokens of each step and the GPU of each."""
        run, case = self.run_of, self.run_of.case
        home: dict[int, int] = {}
        done = [0] * len(case.sequences)
        for tokens, emits in closed_loop(case):
            owners = emits if len(emits) == len(tokens) else emits * len(tokens)
            for owner in dict.fromkeys(owners):
                if owner not in home:
                    holding = [list(home.values()).count(gpu) for gpu in range(run.num_gpus)]
                    home[owner] = holding.index(min(holding))
            yield tokens, [home[owner] for owner in owners]
            for owner in owners:
                done[owner] += 1
                if done[owner] == len(case.sequences[owner][0]):
                    del home[owner]

    def follow(self, tokens: list[list[list[int]]], gpus: list[int]) -> tuple[list[int], list[Layer]]:
        """Say where the tokens of a step go, layer by layer; return the tokens of each GPU, and that."""
        run = self.run_of
        layers = []
        for layer in range(len(run.case.banks)):
            tokens_of: list[dict[int, int]] = [{} for _ in range(run.num_gpus)]
            sent = [[0] * run.num_gpus for _ in range(run.num_gpus)]
            for token, here in zip(tokens, gpus, strict=True):
                places = self.places(token[layer], here)
                for key, gpu in zip(token[layer], places, strict=True):
                    tokens_of[gpu][key] = tokens_of[gpu].get(key, 0) + 1
                for gpu in set(places) - {here}:
                    sent[here][gpu] += 1
                if layer:
                    pairs = [(one, other) for one in self.places(token[layer - 1], here) for other in places]
                    self.out.transitions += len(pairs)
                    self.out.crossings += sum(one != other for one, other in pairs)
            layers.append(Layer(tokens_of, sent))
        return [gpus.count(gpu) for gpu in range(run.num_gpus)], layers

    def places(self, picks: list[int], here: int) -> list[int]:
        """Return which GPU computes each pick."""
        return [here if self.run_of.gpu_of_key[key] == EVERYWHERE else self.run_of.gpu_of_key[key] for key in picks]

    def run(self) -> Outcome:
        """Run all steps."""
        run = self.run_of
        for num_tokens, layers in self.steps:
            if run.meets:
                for at, layer in enumerate(layers):
                    self.together([self.lead(gpu, num_tokens[gpu], at) for gpu in range(run.num_gpus)])
                    self.exchange(layer, is_back=False)
                    self.together([self.experts(gpu, layer.tokens_of[gpu]) for gpu in range(run.num_gpus)])
                    self.exchange(layer, is_back=True)
                self.together([self.tail(gpu, num_tokens[gpu]) for gpu in range(run.num_gpus)])
            else:
                self.together([self.alone(gpu, num_tokens[gpu], layers) for gpu in range(run.num_gpus)])
            self.out.step_end_ns.append(self.now_ns)
        return self.out

    def alone(self, gpu: int, num_tokens: int, layers: list[Layer]) -> Iterator[None]:
        """Go through a step without the others."""
        for at, layer in enumerate(layers if num_tokens else []):
            yield from self.lead(gpu, num_tokens, at)
            yield from self.experts(gpu, layer.tokens_of[gpu])
        yield from self.tail(gpu, num_tokens)

    def lead(self, gpu: int, num_tokens: int, layer: int) -> Iterator[None]:
        """Do a layer's non-expert work."""
        if num_tokens:
            yield from self.work(gpu, self.run_of.case.lead_ns[layer] + self.run_of.lead_token_ns * num_tokens)

    def tail(self, gpu: int, num_tokens: int) -> Iterator[None]:
        """Do the step's own work."""
        if num_tokens:
            yield from self.work(gpu, self.run_of.case.tail_ns)

    def work(self, gpu: int, duration_ns: int) -> Iterator[None]:
        """Let so many nanoseconds pass."""
        for _ in range(duration_ns):
            self.out.gpus[gpu].other_ns += 1
            yield

    def experts(self, gpu: int, tokens_of: dict[int, int]) -> Iterator[None]:
        """Do a layer's experts: those that are there, then the others as they come."""
        cache, counts, case = self.caches[gpu], self.out.gpus[gpu], self.run_of.case
        cache.visit += 1
        counts.expert_tokens += sum(tokens_of.values())
        cache.pinned = set(tokens_of)
        ready = [key for key in tokens_of if key in cache.resident]
        waiting = [key for key in tokens_of if key not in cache.resident]
        counts.hits += len(ready)
        counts.misses += len(waiting)
        for key in ready:
            cache.touch(key)
        waiting = [key for key in waiting if not self.fetch(gpu, key)]
        for _ in range(len(tokens_of)):
            while not ready:
                if self.arrived[gpu]:
                    ready.append(self.arrived[gpu].pop(0))
                else:
                    counts.stall_ns += 1
                    yield
            key = ready.pop(0)
            for _ in range(case.expert_ns(key, tokens_of[key])):
                counts.experts_ns += 1
                yield
            cache.pinned.discard(key)
            while waiting and self.fetch(gpu, waiting[0]):
                waiting.pop(0)
        cache.pinned.clear()

    def fetch(self, gpu: int, key: int) -> bool:
        """Queue a fetch, if there is a slot."""
        if not self.caches[gpu].take_slot(key):
            return False
        if not self.queues[gpu]:
            self.left[gpu] = Fraction(self.copy_work())
        self.queues[gpu].append(key)
        return True

    def copy_work(self) -> int:
        """Return the work of a copy, in parts of a byte."""
        return self.run_of.demand * self.run_of.case.chunk_ends_ns[-1]

    def together(self, works: list[Iterator[None]]) -> None:
        """Have GPUs work nanosecond by nanosecond, links beside them, until the last has done its own."""
        going_on = set(range(len(works)))
        done_ns = [0] * len(works)
        while True:
            self.deliver()
            for gpu in sorted(going_on):
                if next(works[gpu], "done") == "done":
                    going_on.discard(gpu)
                    done_ns[gpu] = self.now_ns
            if not going_on:
                break
            self.copy()
            self.now_ns += 1
        for gpu, of_gpu in enumerate(self.out.gpus):
            of_gpu.barrier_ns += self.now_ns - done_ns[gpu]

    def copy(self) -> None:
        """Copy for a nanosecond: all have the same share of what there is, and none more than it wants."""
        busy = [gpu for gpu, queue in enumerate(self.queues) if queue]
        for gpu in busy:
            self.left[gpu] -= min(Fraction(self.run_of.demand), Fraction(self.run_of.bandwidth, len(busy)))
            self.out.gpus[gpu].link_busy_ns += 1

    def deliver(self) -> None:
        """Deliver what has come in full, and begin the next."""
        for gpu, queue in enumerate(self.queues):
            if queue and self.left[gpu] <= 0:
                key = queue.pop(0)
                self.caches[gpu].arrive(key)
                self.arrived[gpu].append(key)
                self.left[gpu] = Fraction(self.copy_work())

    def exchange(self, layer: Layer, *, is_back: bool) -> None:
        """Send tokens, or what becomes of them back."""
        run = self.run_of
        if run.num_gpus == 1:
            return
        out = [sum(row) for row in layer.sent]
        into = [sum(row[gpu] for row in layer.sent) for gpu in range(run.num_gpus)]
        duration_ns = run.exchange_ns + run.token_ns * max(*out, *into)
        self.now_ns += duration_ns
        for gpu, of_gpu in enumerate(self.out.gpus):
            of_gpu.exchange_ns += duration_ns
            of_gpu.sent_tokens += into[gpu] if is_back else out[gpu]


def _nobody(key: int) -> None:
    """Nothing is copied back."""
    del key
