"""The link, NVMe, the copies back and the CPU's workers of the reference, in plain loops: lists, and one clock for all.

Time goes from one end of something to the next; a job that goes on for what it has lost is looked at whenever that would be
over if the link rested. At one instant, what is done ends first; then each server that is idle
takes up what comes next; a prefetch in service that stands at the end of a chunk (or has just been taken up) still gives
way to a demand of this instant. NVMe does so last, as its reads need slots of host memory that others may have left.
"""

from collections.abc import Callable, Collection, Sequence
from fractions import Fraction

from tests.engine.plain_host import PlainHost
from tests.resources.plain_memory import plain_rates

Amount = int | Fraction


class Work:
    """Something to do for a server; `done` is how much of it is, as time at full speed."""

    def __init__(
        self, key: int, ends_ns: Sequence[int], demand: int, *, is_prefetch: bool = False, is_read: bool = False
    ) -> None:
        self.key = key
        self.is_read = is_read  # from NVMe
        self.ends_ns = ends_ns  # of its chunks
        self.demand = demand
        self.is_prefetch = is_prefetch
        self.is_demanded = not is_prefetch
        self.done: Amount = 0
        self.started_ns = 0  # the stretch of service in progress
        self.done_at_start: Amount = 0
        self.stretches: list[tuple[int, int, Amount]] = []  # (start, end, what was done)
        self.end_ns = -1  # when all was done
        self.link_busy_ns = 0  # of a job: what the link had served when it was taken up
        self.own_end_ns = -1  # of a job: when it had taken its own time


class Servers:
    """One link to the GPU, one back, and workers; NVMe below, if there is a host. `bandwidth` 0: none slows another down."""

    def __init__(
        self,
        *,
        bandwidth: int,
        num_workers: int,
        slowed_ppm: int,
        delivered: Callable[[Work], None],
        host: PlainHost | None = None,
    ) -> None:
        self.now_ns = 0
        self.slowed_ppm = slowed_ppm  # of a worker's speed, while the link serves
        self.host = host
        self.read_demands: list[Work] = []
        self.read_prefetches: list[Work] = []
        self.reading: Work | None = None
        self.has_begun = False  # what is being read: it has a slot
        self.onward: list[Work] = []  # transfers that wait for their reads
        self.onward_jobs: list[Work] = []
        self.read_busy_ns = self.reads = 0
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
        """Queue a transfer, behind a read if its expert is on NVMe."""
        if self.is_at_hand(work.key):
            self.transfer(work)
        else:
            self.onward.append(work)
            self.read(work.key, is_demanded=work.is_demanded)
        self.take_up()

    def compute(self, work: Work) -> None:
        """Queue an expert for the CPU likewise."""
        if self.is_at_hand(work.key):
            self.queue_job(work)
        else:
            self.onward_jobs.append(work)
            self.read(work.key, is_demanded=True)
        self.take_up()

    def promote(self, key: int) -> None:
        """Make the prefetch of a key a demand; if it waits, it joins the demands."""
        for work in self.onward:
            work.is_demanded = work.is_demanded or work.key == key
        if any(work.key == key for work in self.onward):
            self.promote_read(key)
        for work in [*self.prefetches, *([self.fetching] if self.fetching else [])]:
            if work.key == key and not work.is_demanded:
                work.is_demanded = True
                if work in self.prefetches:
                    self.prefetches.remove(work)
                    self.demands.append(work)
        self.take_up()

    def waiting_prefetches(self) -> list[int]:
        """Name the prefetches that can be called off."""
        onward = [work.key for work in self.onward]
        return [work.key for work in [*self.prefetches, *(read for read in self.read_prefetches if read.key in onward)]]

    def call_off(self, key: int) -> None:
        """Take the prefetch of a key out of the queue."""
        if any(work.key == key for work in self.prefetches):
            self.prefetches = [work for work in self.prefetches if work.key != key]
            self.leave_host(key)
            return
        self.onward = [work for work in self.onward if work.key != key]
        self.read_prefetches = [read for read in self.read_prefetches if read.key != key]
        assert self.host is not None
        self.host.ahead.discard(key)
        if key in self.host.history:
            self.host.lose(key)

    def copy_back(self, work: Work) -> None:
        """Queue a copy to the host, over what it has of the expert; if it has nothing, there is nothing to do."""
        if self.passes_host(work.key):
            assert self.host is not None
            if work.key not in self.host.there:
                return
            self.host.uses.append(work.key)
        self.copies_back.append(work)
        self.take_up()

    # host memory

    def passes_host(self, key: int) -> bool:
        """Tell whether an expert may not be in host memory."""
        return self.host is not None and key < self.host.case.num_keys

    def is_at_hand(self, key: int) -> bool:
        """Ask for an expert; tell whether it is in host memory."""
        if not self.passes_host(key):
            return True
        assert self.host is not None
        return self.host.ask(key, is_under_way=self.is_under_way(key))

    def is_under_way(self, key: int) -> bool:
        """Tell whether an expert is being read or will be."""
        reads = [*self.read_demands, *self.read_prefetches, *([self.reading] if self.reading else [])]
        return key in [read.key for read in reads]

    def read(self, key: int, *, is_demanded: bool) -> None:
        """Have an expert read; with a demand, those behind it as well."""
        if self.is_under_way(key):
            if is_demanded:
                self.promote_read(key)
            return
        assert self.host is not None
        case = self.host.case
        (self.read_demands if is_demanded else self.read_prefetches).append(self.new_read(key, is_demanded=is_demanded))
        if not is_demanded:
            return
        self.take_up()
        for behind in range(key + 1, key + 1 + case.read_ahead):
            is_of_bank = behind // case.num_experts == key // case.num_experts
            if is_of_bank and behind not in self.host.there and not self.is_under_way(behind):
                self.host.ahead.add(behind)
                self.host.reads_ahead += 1
                self.read_prefetches.append(self.new_read(behind, is_demanded=False))

    def new_read(self, key: int, *, is_demanded: bool) -> Work:
        """Make a read."""
        assert self.host is not None
        case = self.host.case
        return Work(key, case.read_ends_ns, case.read_demand, is_prefetch=not is_demanded, is_read=True)

    def promote_read(self, key: int) -> None:
        """Make the read of a key one that is waited for."""
        if self.reading is not None and self.reading.key == key:
            self.reading.is_demanded = True
        for read in [read for read in self.read_prefetches if read.key == key]:
            read.is_demanded = True
            self.read_prefetches.remove(read)
            self.read_demands.append(read)

    def transfer(self, work: Work) -> None:
        """Queue a transfer whose expert is in host memory."""
        if self.passes_host(work.key):
            assert self.host is not None
            self.host.uses.append(work.key)
        (self.demands if work.is_demanded else self.prefetches).append(work)

    def queue_job(self, job: Work) -> None:
        """Queue a job whose expert is in host memory."""
        if self.host is not None:
            self.host.uses.append(job.key)
        self.jobs.append(job)

    def leave_host(self, key: int) -> None:
        """End a use of an expert in host memory."""
        if self.passes_host(key):
            assert self.host is not None
            self.host.uses.remove(key)

    def has_read(self, key: int) -> None:
        """Send on what has been read."""
        assert self.host is not None
        self.host.there.add(key)
        for work in [work for work in self.onward if work.key == key]:
            self.transfer(work)
        for job in [job for job in self.onward_jobs if job.key == key]:
            self.queue_job(job)
        self.onward = [work for work in self.onward if work.key != key]
        self.onward_jobs = [job for job in self.onward_jobs if job.key != key]

    def try_again(self) -> None:
        """Have a read that waits for a slot of host memory try again."""
        if self.reading is not None and not self.has_begun:
            self.begin_read()

    def begin_read(self) -> None:
        """Begin to read what is next, if there is a slot for it."""
        assert self.host is not None
        assert self.reading is not None
        self.has_begun = self.host.take_slot(self.reading.key)
        self.reading.started_ns = self.now_ns
        self.reading.done_at_start = self.reading.done

    # how time passes

    def advance(self, until_ns: int) -> None:
        """Let time pass; what is done by then has ended."""
        self.try_again()
        while self.next_end_ns() <= until_ns:
            self.go_to(self.next_end_ns())
        self.go_to(until_ns)

    def finish_service(self) -> Work:
        """Let the link finish the stretch of service that it is at; return what it served."""
        work = self.fetching
        assert work is not None
        num_stretches = len(work.stretches)
        self.try_again()
        while len(work.stretches) == num_stretches:
            self.go_to(self.next_end_ns())
        return work

    def finish_next(self, awaited: Collection[int]) -> Work:
        """Let that end which the stream waits for: NVMe's read while none awaited is in host memory, else the link's."""
        onward = [work.key for work in self.onward]
        if not all(key in onward for key in awaited) or (not awaited and self.fetching is not None):
            return self.finish_service()
        read = self.reading
        assert read is not None
        num_stretches = len(read.stretches)
        self.try_again()
        while len(read.stretches) == num_stretches:
            self.go_to(self.next_end_ns())
        return read

    def finish_jobs(self, jobs: Sequence[Work]) -> None:
        """Let time pass until the CPU has computed all of these."""
        self.try_again()
        while any(job.end_ns < 0 for job in jobs):
            self.go_to(self.next_end_ns())

    def served_ns(self) -> int:
        """Return for how long the link has been serving."""
        return self.link_busy_ns + (self.now_ns - self.fetching.started_ns if self.fetching is not None else 0)

    def busy(self) -> list[Work]:
        """Return all that is in service."""
        reading = self.reading if self.has_begun else None
        works = (self.fetching, self.copying, *self.computing, reading)
        return [work for work in works if work is not None and work.own_end_ns < 0]

    def making_up(self) -> list[Work]:
        """Return the jobs that have taken their own time, and go on for what they have lost."""
        return [job for job in self.computing if job is not None and job.own_end_ns >= 0]

    def made_up_ns(self, job: Work) -> int:
        """Return when such a job ends, if the link serves no more from now on."""
        beside_ns = self.served_ns() - job.link_busy_ns
        return job.own_end_ns + beside_ns * self.slowed_ppm // 10**6

    def rates(self) -> list[Amount]:
        """Return how fast each of these goes on; 1 is full speed."""
        demands = [work.demand for work in self.busy()]
        if not self.bandwidth or sum(demands) <= self.bandwidth:
            return [1] * len(demands)
        return [rate / demand for rate, demand in zip(plain_rates(demands, self.bandwidth), demands, strict=True)]

    def goal(self, work: Work) -> int:
        """Return where the service of a piece of work ends: a prefetch that holds up a demand goes to the end of a chunk."""
        overtakers = self.demands if work is self.fetching else self.read_demands if work is self.reading else []
        if not work.is_demanded and overtakers:
            return next((end for end in (0, *work.ends_ns) if end >= work.done), work.ends_ns[-1])
        return work.ends_ns[-1]

    def next_end_ns(self) -> int:
        """Return the first whole nanosecond at which something is done."""
        works = zip(self.busy(), self.rates(), strict=True)
        ends = [self.now_ns + -(-(self.goal(work) - work.done) // rate) for work, rate in works]
        return int(min([*ends, *map(self.made_up_ns, self.making_up())], default=10**18))

    def go_to(self, now_ns: int) -> None:
        """Go to a time before which nothing ends, and end what is done then."""
        goals = [(work, self.goal(work)) for work in self.busy()]
        for work, rate in zip(self.busy(), self.rates(), strict=True):
            work.done += rate * (now_ns - self.now_ns)
        self.now_ns = now_ns
        for work, goal in goals:
            if work.done >= goal and work in self.computing:
                work.own_end_ns = now_ns
            elif work.done >= goal:
                self.end(work, goal)
        for job in self.making_up():
            if self.made_up_ns(job) <= now_ns:
                self.end(job, job.ends_ns[-1])
        self.take_up()
        self.try_again()

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
                self.leave_host(work.key)
                self.delivered(work)
            else:
                self.prefetches.insert(0, work)
        elif work is self.reading:
            self.reading = None
            self.read_busy_ns += took_ns
            if is_done:
                self.reads += 1
                self.has_read(work.key)
            else:
                self.read_prefetches.insert(0, work)
        elif work is self.copying:
            self.copying = None
            self.back_busy_ns += took_ns
            self.copied_back += 1
            self.leave_host(work.key)
        else:
            worker = self.computing.index(work)
            self.computing[worker] = None
            self.idle_since_ns[worker] = self.now_ns
            self.cpu_busy_ns += took_ns
            self.leave_host(work.key)

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
            job.link_busy_ns = self.served_ns()
            if job.ends_ns[-1] == 0:
                self.end(job, 0)
        self.take_up_reads()

    def take_up_reads(self) -> None:
        """Have NVMe begin with what comes next."""
        read = self.reading
        if read is not None and not read.is_demanded and self.read_demands:
            if not self.has_begun:
                self.reading = None
                self.read_prefetches.insert(0, read)
            elif read.done in (0, *read.ends_ns):
                self.end(read, int(read.done))
        if self.reading is None and (self.read_demands or self.read_prefetches):
            self.reading = (self.read_demands or self.read_prefetches).pop(0)
            self.begin_read()

    def begin(self, queue: list[Work]) -> Work:
        """Take the first of a queue into service."""
        work = queue.pop(0)
        work.started_ns = self.now_ns
        work.done_at_start = work.done
        return work

    def stop(self) -> None:
        """Count what is in service when the run ends."""
        self.link_busy_ns += sum(self.now_ns - work.started_ns for work in [self.fetching] if work is not None)
        self.read_busy_ns += sum(self.now_ns - work.started_ns for work in [self.reading] if work and self.has_begun)
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
