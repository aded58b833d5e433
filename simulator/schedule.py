"""Divide a layer's experts among GPU, CPU and link by simulating the three side by side.

    GPU    resident experts and those that have arrived, the highest load first
    CPU    missing experts, the lowest load first; where none is left, resident ones that the GPU has not begun, likewise
    link   missing experts, the highest load first; each joins the GPU's queue as it arrives

Load is the number of tokens; of two alike the lower key counts as the higher load. Again and again each of the three
offers its next expert, and the one that would be done with it first gets it; a fetched expert is done when the GPU has
computed it. Ties go to the GPU, then to the CPU.

Source: HybriMoE, arXiv 2504.05897, section 4.2 (queues, priorities, filling three timelines in turn). What comes next is
"the resource that frees first" there; that an expert counts as done when computed is our reading, so that a high load is
fetched although the CPU is free as well.

Limits: nothing else goes on: no transfer waits, no expert is in flight, the stream is free; no kernel computes a group; a
fetch finds a slot; activations travel together when the CPU has computed all, as in the engine.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simulator.view import Estimates

_MOST_KNOWN_SCHEDULES = 1 << 16
_Pattern = tuple[tuple[int, bool], ...]
"""(tokens, is resident), the highest load first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Who computes what: each key is in one of the three, in the order in which it was given out.

    `on_gpu` are resident keys, `on_cpu` missing ones and, where allowed, resident ones; `fetched` are missing keys that
    the GPU computes once they have come. `makespan_ns` is when the last result is on the GPU.
    """

    on_gpu: Sequence[int]
    on_cpu: Sequence[int]
    fetched: Sequence[int]
    makespan_ns: int


def hybrid_schedule(
    *,
    keys: Sequence[int],
    num_tokens: Sequence[int],
    resident: Sequence[bool],
    costs: Estimates,
    cpu_warmup_frac: float = 0.0,
    cpu_takes_resident: bool = True,
) -> Schedule:
    """Schedule the distinct `keys` of a layer, `num_tokens` of each, those that are `resident` and the others.

    The first expert on each CPU worker takes longer by `cpu_warmup_frac`, as its caches are cold. Without
    `cpu_takes_resident` the CPU leaves resident experts to the GPU.

    Raises ValueError for lists of unequal length or a negative fraction.
    """
    if cpu_warmup_frac < 0:
        raise ValueError(f"cpu_warmup_frac is {cpu_warmup_frac}; it should be 0 or more")
    by_load = sorted(zip(keys, num_tokens, resident, strict=True), key=_by_load)
    return _Timelines(
        [(key, tokens) for key, tokens, is_resident in by_load if is_resident],
        [(key, tokens) for key, tokens, is_resident in by_load if not is_resident],
        costs,
        cpu_warmup_frac,
        cpu_takes_resident,
    ).fill()


class Scheduler:
    """`hybrid_schedule` for one machine. Only loads, residency and the order of keys matter: what has come is looked up.

    Raises ValueError as that does.
    """

    def __init__(self, costs: Estimates, *, cpu_warmup_frac: float = 0.0, cpu_takes_resident: bool = True) -> None:
        if cpu_warmup_frac < 0:
            raise ValueError(f"cpu_warmup_frac is {cpu_warmup_frac}; it should be 0 or more")
        self._costs = costs
        self._warmup_frac = cpu_warmup_frac
        self._takes_resident = cpu_takes_resident
        self._known: dict[_Pattern, Schedule] = {}  # of ranks in place of keys

    def schedule(self, experts: Iterable[tuple[int, int, bool]]) -> Schedule:
        """Schedule distinct (key, tokens, is resident)."""
        by_load = sorted(experts, key=_by_load)
        of_ranks = self._of_ranks(tuple([(tokens, is_resident) for _, tokens, is_resident in by_load]))
        return Schedule(
            on_gpu=[by_load[rank][0] for rank in of_ranks.on_gpu],
            on_cpu=[by_load[rank][0] for rank in of_ranks.on_cpu],
            fetched=[by_load[rank][0] for rank in of_ranks.fetched],
            makespan_ns=of_ranks.makespan_ns,
        )

    def makespan_ns(self, loads: Iterable[tuple[int, bool]]) -> int:
        """Return what a schedule of (tokens, is resident) takes; of two alike, the resident one comes first."""
        return self._of_ranks(tuple(sorted(loads, reverse=True))).makespan_ns

    def _of_ranks(self, pattern: "_Pattern") -> Schedule:
        known = self._known.get(pattern)
        if known is None:
            if len(self._known) >= _MOST_KNOWN_SCHEDULES:
                self._known.clear()
            known = self._known[pattern] = hybrid_schedule(
                keys=range(len(pattern)),
                num_tokens=[tokens for tokens, _ in pattern],
                resident=[is_resident for _, is_resident in pattern],
                costs=self._costs,
                cpu_warmup_frac=self._warmup_frac,
                cpu_takes_resident=self._takes_resident,
            )
        return known


class _Timelines:
    """Three timelines that are filled in turn. `resident` and `missing` are (key, tokens), the highest load first."""

    def __init__(
        self,
        resident: Sequence[tuple[int, int]],
        missing: Sequence[tuple[int, int]],
        costs: Estimates,
        cpu_warmup_frac: float,
        cpu_takes_resident: bool,
    ) -> None:
        self._resident, self._missing = deque(resident), deque(missing)
        self._arriving: list[tuple[int, int, int]] = []  # (arrival, key, tokens) of those that the GPU has yet to take
        self._costs = costs
        self._warmup_frac = cpu_warmup_frac
        self._cpu_takes_resident = cpu_takes_resident
        self._gpu_free_ns = self._link_free_ns = self._cpu_end_ns = 0
        self._workers_free_ns = [0] * costs.num_cpu_workers
        self._cpu_rows = 0
        self._on_gpu: list[int] = []
        self._on_cpu: list[int] = []
        self._fetched: list[int] = []

    def fill(self) -> Schedule:
        """Give out every expert."""
        while self._resident or self._missing or self._arriving:
            offers = [
                (offer_ns, take)
                for offer_ns, take in (
                    (self._gpu_offer_ns(), self._take_on_gpu),
                    (self._cpu_offer_ns(), self._take_on_cpu),
                    (self._link_offer_ns(), self._take_on_link),
                )
                if offer_ns is not None
            ]
            min(offers, key=lambda offer: offer[0])[1]()
        return Schedule(
            on_gpu=self._on_gpu,
            on_cpu=self._on_cpu,
            fetched=self._fetched,
            makespan_ns=max(self._gpu_free_ns, self._cpu_done_ns(self._cpu_end_ns, self._cpu_rows)),
        )

    def _gpu_next(self) -> tuple[int, int, int] | None:
        """Return (ready, key, tokens): the highest load of what has arrived, else what arrives first."""
        arrived = [expert for expert in self._arriving if expert[0] <= self._gpu_free_ns]
        if self._resident:
            key, tokens = self._resident[0]
            arrived.append((0, key, tokens))
        if arrived:
            return min(arrived, key=lambda expert: (-expert[2], expert[1]))
        return min(self._arriving, default=None)

    def _gpu_offer_ns(self) -> int | None:
        expert = self._gpu_next()
        if expert is None:
            return None
        return max(self._gpu_free_ns, expert[0]) + self._costs.expert_ns(expert[2])

    def _take_on_gpu(self) -> None:
        expert = self._gpu_next()
        assert expert is not None
        ready_ns, key, tokens = expert
        self._gpu_free_ns = max(self._gpu_free_ns, ready_ns) + self._costs.expert_ns(tokens)
        if expert in self._arriving:
            self._arriving.remove(expert)
        else:
            self._resident.popleft()
            self._on_gpu.append(key)

    def _cpu_queue(self) -> deque[tuple[int, int]]:
        return self._resident if not self._missing and self._cpu_takes_resident else self._missing

    def _cpu_expert_end_ns(self, tokens: int) -> int:
        free_ns = min(self._workers_free_ns)
        duration_ns = self._costs.cpu_expert_ns(tokens)
        return free_ns + duration_ns + (int(duration_ns * self._warmup_frac) if free_ns == 0 else 0)

    def _cpu_offer_ns(self) -> int | None:
        queue = self._cpu_queue()
        if not queue:
            return None
        tokens = queue[-1][1]
        return self._cpu_done_ns(self._cpu_expert_end_ns(tokens), self._cpu_rows + tokens)

    def _take_on_cpu(self) -> None:
        key, tokens = self._cpu_queue().pop()
        end_ns = self._cpu_expert_end_ns(tokens)
        self._workers_free_ns[self._workers_free_ns.index(min(self._workers_free_ns))] = end_ns
        self._cpu_end_ns = max(self._cpu_end_ns, end_ns)
        self._cpu_rows += tokens
        self._on_cpu.append(key)

    def _cpu_done_ns(self, end_ns: int, rows: int) -> int:
        return end_ns + self._costs.activation_ns(rows) if rows else 0

    def _link_offer_ns(self) -> int | None:
        if not self._missing:
            return None
        arrival_ns = self._link_free_ns + self._costs.transfer_ns
        return max(self._gpu_free_ns, arrival_ns) + self._costs.expert_ns(self._missing[0][1])

    def _take_on_link(self) -> None:
        key, tokens = self._missing.popleft()
        self._link_free_ns += self._costs.transfer_ns
        self._arriving.append((self._link_free_ns, key, tokens))
        self._fetched.append(key)


def _by_load(expert: tuple[int, int, bool]) -> tuple[int, int]:
    key, tokens, _ = expert
    return -tokens, key
