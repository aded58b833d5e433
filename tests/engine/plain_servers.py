"""The link, the copies back and the CPU's workers of the reference, in plain loops: lists, and one clock for all.

Time goes from one end of something to the next. At one instant, what is done ends first; then each server that is idle
takes up what comes next; a prefetch in service that stands at the end of a chunk (or has just been taken up) still gives
way to a demand of this instant.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

from tests.resources.plain_memory import plain_rates

Amount = int | Fraction


class Work:
    """Something to do for a server; `done` is how much of it is, as time at full speed."""

    def __init__(self, key: int, ends_ns: Sequence[int], demand: int, *, is_prefetch: bool = False) -> None:
        self.key = key
        self.ends_ns = ends_ns  # of its chunks
        self.demand = demand
        self.is_prefetch = is_prefetch
        self.is_demanded = not is_prefetch
        self.done: Amount = 0
        self.started_ns = 0  # the stretch of service in progress
        self.done_at_start: Amount = 0
        self.stretches: list[tuple[int, int, Amount]] = []  # (start, end, what was done)
        self.end_ns = -1  # when all was done


class Servers:
    """One link to the GPU, one back, and workers. `bandwidth` 0: none slows another down."""

    def __init__(self, *, bandwidth: int, num_workers: int, delivered: Callable[[Work], None]) -> None:
        self.now_ns = 0
        self.bandwidth = bandwidth
        self.delivered = delivered
        self.demands: list[Work] = []
        self.prefetches: list[Work] = []
        self.copies_back: list[Work] = []
        self.jobs: list[Work] = []
        self.fetching: Work | None = None
        self.copying: Work | None = None
        self.computing: list[Work | None] = [None] * num_workers
        self.idle_since_ns = [0] * num_workers
        self.link_busy_ns = self.back_busy_ns = self.cpu_busy_ns = self.copied_back = 0

    # what is asked for

    def fetch(self, work: Work) -> None:
        """Queue a transfer."""
        (self.prefetches if work.is_prefetch else self.demands).append(work)
        self.take_up()

    def promote(self, key: int) -> None:
        """Make the prefetch of a key a demand; if it waits, it joins the demands."""
        for work in [*self.prefetches, *([self.fetching] if self.fetching else [])]:
            if work.key == key and not work.is_demanded:
                work.is_demanded = True
                if work in self.prefetches:
                    self.prefetches.remove(work)
                    self.demands.append(work)
        self.take_up()

    def call_off(self, key: int) -> None:
        """Take the prefetch of a key out of the queue."""
        self.prefetches = [work for work in self.prefetches if work.key != key]

    def copy_back(self, work: Work) -> None:
        """Queue a copy to the host."""
        self.copies_back.append(work)
        self.take_up()

    def compute(self, work: Work) -> None:
        """Queue an expert for the CPU."""
        self.jobs.append(work)
        self.take_up()

    # how time passes

    def advance(self, until_ns: int) -> None:
        """Let time pass; what is done by then has ended."""
        while self.next_end_ns() <= until_ns:
            self.go_to(self.next_end_ns())
        self.go_to(until_ns)

    def finish_service(self) -> Work:
        """Let the link finish the stretch of service that it is at; return what it served."""
        work = self.fetching
        assert work is not None
        num_stretches = len(work.stretches)
        while len(work.stretches) == num_stretches:
            self.go_to(self.next_end_ns())
        return work

    def finish_jobs(self, jobs: Sequence[Work]) -> None:
        """Let time pass until the CPU has computed all of these."""
        while any(job.end_ns < 0 for job in jobs):
            self.go_to(self.next_end_ns())

    def busy(self) -> list[Work]:
        """Return all that is in service."""
        return [work for work in (self.fetching, self.copying, *self.computing) if work is not None]

    def rates(self) -> list[Amount]:
        """Return how fast each of these goes on; 1 is full speed."""
        demands = [work.demand for work in self.busy()]
        if not self.bandwidth or sum(demands) <= self.bandwidth:
            return [1] * len(demands)
        return [rate / demand for rate, demand in zip(plain_rates(demands, self.bandwidth), demands, strict=True)]

    def goal(self, work: Work) -> int:
        """Return where the service of a piece of work ends: a prefetch that holds up a demand goes to the end of a chunk."""
        if work is self.fetching and not work.is_demanded and self.demands:
            return next((end for end in (0, *work.ends_ns) if end >= work.done), work.ends_ns[-1])
        return work.ends_ns[-1]

    def next_end_ns(self) -> int:
        """Return the first whole nanosecond at which something is done."""
        works = zip(self.busy(), self.rates(), strict=True)
        ends = [self.now_ns + -(-(self.goal(work) - work.done) // rate) for work, rate in works]
        return int(min(ends, default=10**18))

    def go_to(self, now_ns: int) -> None:
        """Go to a time before which nothing ends, and end what is done then."""
        goals = [(work, self.goal(work)) for work in self.busy()]
        for work, rate in zip(self.busy(), self.rates(), strict=True):
            work.done += rate * (now_ns - self.now_ns)
        self.now_ns = now_ns
        for work, goal in goals:
            if work.done >= goal:
                self.end(work, goal)
        self.take_up()

    def end(self, work: Work, goal: int) -> None:
        """End a stretch of service, which was to come as far as `goal`."""
        work.done = goal
        took_ns = self.now_ns - work.started_ns
        if took_ns:
            work.stretches.append((work.started_ns, self.now_ns, goal - work.done_at_start))
        is_done = goal == work.ends_ns[-1]
        if is_done:
            work.end_ns = self.now_ns
        if work is self.fetching:
            self.fetching = None
            self.link_busy_ns += took_ns
            if is_done:
                self.delivered(work)
            else:
                self.prefetches.insert(0, work)
        elif work is self.copying:
            self.copying = None
            self.back_busy_ns += took_ns
            self.copied_back += 1
        else:
            worker = self.computing.index(work)
            self.computing[worker] = None
            self.idle_since_ns[worker] = self.now_ns
            self.cpu_busy_ns += took_ns

    def take_up(self) -> None:
        """Have each idle server begin with what comes next."""
        work = self.fetching
        if work is not None and not work.is_demanded and self.demands and work.done in (0, *work.ends_ns):
            self.end(work, int(work.done))
        if self.fetching is None and (self.demands or self.prefetches):
            self.fetching = self.begin(self.demands if self.demands else self.prefetches)
        if self.copying is None and self.copies_back:
            self.copying = self.begin(self.copies_back)
        while self.jobs and None in self.computing:
            idle = [worker for worker, job in enumerate(self.computing) if job is None]
            worker = min(idle, key=lambda worker: self.idle_since_ns[worker])
            job = self.computing[worker] = self.begin(self.jobs)
            if job.ends_ns[-1] == 0:
                self.end(job, 0)

    def begin(self, queue: list[Work]) -> Work:
        """Take the first of a queue into service."""
        work = queue.pop(0)
        work.started_ns = self.now_ns
        work.done_at_start = work.done
        return work

    def stop(self) -> None:
        """Count what is in service when the run ends."""
        self.link_busy_ns += sum(self.now_ns - work.started_ns for work in [self.fetching] if work is not None)
        self.back_busy_ns += sum(self.now_ns - work.started_ns for work in [self.copying] if work is not None)
        self.cpu_busy_ns += sum(self.now_ns - job.started_ns for job in self.computing if job is not None)


def tiled_end_ns(work: Work, num_tiles: int, kernel_ns: int, overhead_ns: int, free_ns: int) -> int:
    """Return when an expert is done whose tiles are computed as they come."""
    end: Amount = free_ns
    for tile in range(1, num_tiles + 1):
        wanted: Amount = Fraction(work.ends_ns[-1] * tile, num_tiles)
        for start_ns, end_ns, done in work.stretches:
            if wanted <= done:
                came = start_ns + Fraction(wanted, done) * (end_ns - start_ns)
                break
            wanted -= done
        end = max(end, came) + Fraction(kernel_ns, num_tiles) + (overhead_ns if tile > 1 else 0)
    return -(-end // 1)
