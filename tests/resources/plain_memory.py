"""Shared host memory once more, nanosecond by nanosecond in fractions: what flows, links and workers are compared with."""

from collections.abc import Sequence
from fractions import Fraction

Service = tuple[str, int, int, int]
"""(server, key, start_ns, end_ns)."""


def plain_rates(demands: Sequence[int], bandwidth: int) -> list[Fraction]:
    """Hand out a bandwidth in equal parts; who has enough gives back the rest, which is handed out again."""
    rates = [Fraction(0)] * len(demands)
    left = Fraction(bandwidth)
    hungry = [index for index, demand in enumerate(demands) if demand > 0]
    while hungry and left > 0:
        part, left = left / len(hungry), Fraction(0)
        for index in hungry:
            taken = min(part, demands[index] - rates[index])
            rates[index] += taken
            left += part - taken
        hungry = [index for index in hungry if rates[index] < demands[index]]
    return rates


class PlainWork:
    """Something that a server is busy with: how much of it is done, as time at full speed."""

    def __init__(self, key: int, demand: int, duration_ns: int, *, is_demanded: bool = True) -> None:
        self.key = key
        self.demand = demand
        self.duration_ns = duration_ns
        self.is_demanded = is_demanded
        self.done_ns = Fraction(0)
        self.started_ns = 0


def pass_one_ns(busy: Sequence[PlainWork], bandwidth: int) -> None:
    """Let each piece of work go on for a nanosecond at its rate."""
    for work, rate in zip(busy, plain_rates([work.demand for work in busy], bandwidth), strict=True):
        work.done_ns += rate / work.demand


def plain_ends(flows: Sequence[tuple[int, int, int]], bandwidth: int) -> list[int]:
    """Return when each of the flows (start, demand, duration) ends."""
    works = [PlainWork(key, demand, duration_ns) for key, (_, demand, duration_ns) in enumerate(flows)]
    ends_ns = [-1] * len(flows)
    now_ns = 0
    while -1 in ends_ns:
        begun = [work for work in works if flows[work.key][0] <= now_ns]
        for work in begun:
            if ends_ns[work.key] == -1 and work.done_ns >= work.duration_ns:
                ends_ns[work.key] = now_ns
        pass_one_ns([work for work in begun if ends_ns[work.key] == -1], bandwidth)
        now_ns += 1
    return ends_ns


class PlainHost:
    """A link in each direction and workers that share a memory."""

    def __init__(self, *, bandwidth: int, chunk_ends_ns: Sequence[int], copy: int, back: tuple[int, int], workers: int):
        self.bandwidth = bandwidth
        self.boundaries_ns = [0, *chunk_ends_ns[:-1]]
        self.transfer_ns, self.copy = chunk_ends_ns[-1], copy
        self.back_ns, self.back = back
        self.demands: list[PlainWork] = []
        self.prefetches: list[PlainWork] = []
        self.evicted: list[PlainWork] = []
        self.jobs: list[PlainWork] = []
        self.fetching: PlainWork | None = None
        self.writing: PlainWork | None = None
        self.workers: list[PlainWork | None] = [None] * workers
        self.idle_since_ns = [0] * workers
        self.services: list[Service] = []
        self.now_ns = 0

    def run(self, arrivals: Sequence[tuple[int, str, int, tuple[int, int]]]) -> list[Service]:
        """Take in arrivals (time, kind, key, (duration, demand) of a job); return the services when all is done."""
        pending = list(arrivals)
        while True:
            self.end_what_is_done()
            self.pick()
            while pending and pending[0][0] == self.now_ns:
                _, kind, key, (duration_ns, demand) = pending.pop(0)
                if kind == "evict":
                    self.evicted.append(PlainWork(key, self.back, self.back_ns))
                elif kind == "compute":
                    self.jobs.append(PlainWork(key, demand, duration_ns))
                else:
                    self.ask(key, is_demanded=kind == "want")
                self.pick()
            busy = [work for work in (self.fetching, self.writing, *self.workers) if work is not None]
            if not busy and not pending:
                return self.services
            pass_one_ns(busy, self.bandwidth)
            self.now_ns += 1

    def ask(self, key: int, *, is_demanded: bool) -> None:
        """Queue a transfer, or promote the one that is under way."""
        in_service = [self.fetching] if self.fetching else []
        under_way = [work for work in (*self.demands, *self.prefetches, *in_service) if work.key == key]
        if not under_way:
            work = PlainWork(key, self.copy, self.transfer_ns, is_demanded=is_demanded)
            (self.demands if is_demanded else self.prefetches).append(work)
        for work in under_way:
            if is_demanded and not work.is_demanded:
                work.is_demanded = True
                if work in self.prefetches:
                    self.prefetches.remove(work)
                    self.demands.append(work)

    def end_what_is_done(self) -> None:
        """End what has been done in full; have a prefetch give way that has passed a boundary since a demand came."""
        work = self.fetching
        if work is not None and work.done_ns >= work.duration_ns:
            self.note("fetch", work)
            self.fetching = None
        elif work is not None and self.demands and not work.is_demanded:
            before_ns = work.done_ns - self.last_step(work)
            passed = [end for end in self.boundaries_ns if before_ns < end <= work.done_ns]
            if passed:
                work.done_ns = Fraction(passed[0])
                self.give_way(work)
        if self.writing is not None and self.writing.done_ns >= self.writing.duration_ns:
            self.note("back", self.writing)
            self.writing = None
        for worker, job in enumerate(self.workers):
            if job is not None and job.done_ns >= job.duration_ns:
                self.note(f"worker {worker}", job)
                self.workers[worker] = None
                self.idle_since_ns[worker] = self.now_ns

    def last_step(self, work: PlainWork) -> Fraction:
        """Return how far a piece of work has come in the nanosecond that has just passed."""
        busy = [other for other in (self.fetching, self.writing, *self.workers) if other is not None]
        rates = plain_rates([other.demand for other in busy], self.bandwidth)
        return rates[busy.index(work)] / work.demand

    def give_way(self, work: PlainWork) -> None:
        """Put the prefetch in service back, first in its queue."""
        self.note("fetch", work)
        self.fetching = None
        self.prefetches.insert(0, work)

    def note(self, server: str, work: PlainWork) -> None:
        """Note a stretch of service that took time."""
        if self.now_ns > work.started_ns:
            self.services.append((server, work.key, work.started_ns, self.now_ns))

    def pick(self) -> None:
        """Have idle servers begin with something; a prefetch that stands at a boundary gives way to a demand."""
        work = self.fetching
        if work is not None and self.demands and not work.is_demanded and work.done_ns in self.boundaries_ns:
            self.give_way(work)
        if self.fetching is None and (self.demands or self.prefetches):
            self.fetching = self.begin(self.demands if self.demands else self.prefetches)
        if self.writing is None and self.evicted:
            self.writing = self.begin(self.evicted)
        idle = [worker for worker, job in enumerate(self.workers) if job is None]
        for worker in sorted(idle, key=lambda worker: self.idle_since_ns[worker]):
            if self.jobs:
                self.workers[worker] = self.begin(self.jobs)

    def begin(self, queue: list[PlainWork]) -> PlainWork:
        """Take the first of a queue into service."""
        work = queue.pop(0)
        work.started_ns = self.now_ns
        return work
