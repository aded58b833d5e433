"""A link in each direction and the CPU's workers, with host memory between them."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.resources.clock import Clock
from simulator.resources.cpu_pool import UNKNOWN_NS, CpuPool, PooledJob, last_end_ns
from simulator.resources.host_memory import HostMemory
from simulator.resources.link import Link
from simulator.resources.shared_link import SharedLink
from simulator.resources.transfers import Transfer
from simulator.resources.write_back import WriteBack
from tests.resources.plain_memory import PlainHost, Service
from tests.resources.test_link_against_plain_loop import chunkings, decision

Arrival = tuple[int, str, int, tuple[int, int]]

arrivals = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from(["want", "prefetch", "prefetch", "evict", "compute", "compute"]),
        st.integers(0, 7),
        st.tuples(st.integers(1, 15), st.integers(1, 12)),
    ),
    max_size=20,
).map(lambda drawn: sorted(drawn, key=lambda arrival: arrival[0]))


@dataclass
class Host:
    """The servers of a host. With `bandwidth` None nothing is shared."""

    bandwidth: int | None
    chunk_ends_ns: Sequence[int] = (10,)
    copy: int = 10
    back: tuple[int, int] = (10, 10)
    num_workers: int = 1
    keeps_stretches: bool = False

    def __post_init__(self) -> None:
        self.env = env = Clock()
        self.log: list[Service] = []
        self.delivered: list[Transfer] = []
        self.link: Link
        memory = None if self.bandwidth is None else HostMemory(env, self.bandwidth)

        def fetched(transfer: Transfer, start_ns: int, end_ns: int) -> None:
            self.log.append(("fetch", transfer.key, start_ns, end_ns))

        def copied_back(transfer: Transfer, start_ns: int, end_ns: int) -> None:
            self.log.append(("back", transfer.key, start_ns, end_ns))

        def computed(job: PooledJob) -> None:
            self.log.append((f"worker {job.worker}", job.key, job.start_ns, job.end_ns))

        if memory is None:
            self.link = Link(
                env,
                chunk_ends_ns=self.chunk_ends_ns,
                deliver=self.delivered.append,
                on_service=fetched,
                keeps_stretches=self.keeps_stretches,
            )
        else:
            self.link = SharedLink(
                env,
                memory=memory,
                rank=0,
                demand_of=lambda _: self.copy,
                chunk_ends_ns=self.chunk_ends_ns,
                deliver=self.delivered.append,
                on_service=fetched,
                keeps_stretches=self.keeps_stretches,
            )
        self.write_back = WriteBack(
            env,
            transfer_ns=self.back[0],
            num_bytes=1000,
            memory=memory,
            rank=1,
            demand=self.back[1],
            on_service=copied_back,
        )
        self.pool = CpuPool(env, self.num_workers, memory=memory, first_rank=2, on_job=computed)

    def run(self, drawn: Sequence[Arrival]) -> list[Service]:
        """Take in arrivals; return the services when all is done, in order of their ends and servers."""

        def arrive() -> Generator[simpy.Event, None, None]:
            for at_ns, kind, key, (duration_ns, demand) in drawn:
                yield self.env.timeout(at_ns - int(self.env.now))
                if kind == "evict":
                    self.write_back.evict(key)
                elif kind == "compute":
                    self.pool.queue(key, duration_ns, demand)
                else:
                    decision(kind, key)(self.link)

        self.env.process(arrive())
        self.env.run()
        return in_order(self.log)


def in_order(services: Sequence[Service]) -> list[Service]:
    """Sort services by end, then by server."""
    return sorted(services, key=lambda service: (service[3], service[0], service[2]))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    drawn=arrivals,
    bandwidth=st.integers(6, 30),
    chunk_ends_ns=chunkings,
    copy=st.integers(1, 12),
    back=st.tuples(st.integers(1, 20), st.integers(1, 12)),
    num_workers=st.integers(1, 4),
)
def test_same_services_as_nanosecond_by_nanosecond(
    drawn: list[Arrival],
    bandwidth: int,
    chunk_ends_ns: tuple[int, ...],
    copy: int,
    back: tuple[int, int],
    num_workers: int,
) -> None:
    """Every stretch of service of every server starts and ends at the same instants."""
    host = Host(bandwidth, chunk_ends_ns=chunk_ends_ns, copy=copy, back=back, num_workers=num_workers)
    plain = PlainHost(bandwidth=bandwidth, chunk_ends_ns=chunk_ends_ns, copy=copy, back=back, workers=num_workers)
    assert host.run(drawn) == in_order(plain.run(drawn))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(drawn=arrivals, chunk_ends_ns=chunkings, num_workers=st.integers(1, 4))
def test_ample_memory_changes_nothing(drawn: list[Arrival], chunk_ends_ns: tuple[int, ...], num_workers: int) -> None:
    """All services are those without a memory, worker by worker."""
    shared, alone = (
        Host(bandwidth, chunk_ends_ns=chunk_ends_ns, num_workers=num_workers) for bandwidth in (20 + 12 * 4, None)
    )
    assert shared.run(drawn) == alone.run(drawn)
    assert shared.link.busy_ns() == alone.link.busy_ns()
    assert shared.write_back.busy_ns() == alone.write_back.busy_ns()
    assert [transfer.key for transfer in shared.delivered] == [transfer.key for transfer in alone.delivered]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(drawn=arrivals, bandwidth=st.integers(3, 40), chunk_ends_ns=chunkings)
def test_stretches_hold_the_whole_transfer(
    drawn: list[Arrival], bandwidth: int, chunk_ends_ns: tuple[int, ...]
) -> None:
    """However often it was interrupted or slowed, a transfer is served its work once, never faster than at full speed."""
    host = Host(bandwidth, chunk_ends_ns=chunk_ends_ns, keeps_stretches=True)
    host.run(drawn)
    for transfer in host.delivered:
        assert transfer.stretches is not None
        assert sum(stretch.served_ns for stretch in transfer.stretches) == chunk_ends_ns[-1]
        assert all(stretch.served_ns <= stretch.end_ns - stretch.start_ns for stretch in transfer.stretches)
    assert host.write_back.bytes_copied == 1000 * sum(kind == "evict" for _, kind, *_ in drawn)


def test_a_copy_and_an_expert_on_the_cpu_slow_each_other() -> None:
    """Both want 10 of 15: at 7.5 each, the copy's 100 take 13.3; the expert has 50 left of 150 then, at 10."""
    log = Host(15).run([(0, "want", 1, (0, 0)), (0, "compute", 2, (15, 10))])
    assert log == [("fetch", 1, 0, 14), ("worker 0", 2, 0, 19)]


def test_both_directions_draw_on_memory() -> None:
    """Full duplex on the link, they share 10 of memory: twice the time for each."""
    assert Host(10).run([(0, "want", 1, (0, 0)), (0, "evict", 2, (0, 0))]) == [("back", 2, 0, 20), ("fetch", 1, 0, 20)]
    assert Host(None).run([(0, "want", 1, (0, 0)), (0, "evict", 2, (0, 0))]) == [
        ("back", 2, 0, 10),
        ("fetch", 1, 0, 10),
    ]


def test_a_slowed_prefetch_gives_way_when_its_chunk_is_done() -> None:
    """At half speed its first chunk of 4 is done at 8; the demand that came at 1 is served then."""
    host = Host(10, chunk_ends_ns=(4, 10))
    log = host.run([(0, "prefetch", 1, (0, 0)), (0, "compute", 9, (30, 10)), (1, "want", 2, (0, 0))])
    assert log == [("fetch", 1, 0, 8), ("fetch", 2, 8, 28), ("fetch", 1, 28, 40), ("worker 0", 9, 0, 50)]


def test_who_waits_for_the_end_of_a_service_wakes_at_its_end() -> None:
    """A copy that others slow down from 2 on and leave alone again from 8 on: 2 + 6 / 2 + 5 = 10 at 13."""
    host = Host(10)
    woken: list[int] = []

    def wait() -> Generator[simpy.Event, None, None]:
        host.link.demand(1)
        assert host.link.end_of_service is not None
        yield host.link.end_of_service
        woken.append(int(host.env.now))
        assert [transfer.key for transfer in host.delivered] == [1]

    host.env.process(wait())
    host.run([(2, "compute", 5, (3, 10))])
    assert woken == [13]


def test_who_is_inside_a_copy() -> None:
    """A service is under way from the instant after its start up to its end, and not while the link is idle."""
    host = Host(None)
    found: list[bool] = []

    def look() -> Generator[simpy.Event, None, None]:
        found.append(host.link.is_under_way())
        host.link.demand(1)
        for _ in range(3):
            found.append(host.link.is_under_way())
            yield host.env.timeout(5)
        found.append(host.link.is_under_way())

    host.env.process(look())
    host.env.run()
    assert found == [False, False, True, False, False]


@pytest.mark.parametrize("bandwidth", [10, 40, None])
def test_jobs_can_be_waited_for_in_any_order(bandwidth: int | None) -> None:
    """Two workers and three jobs: who waits for some of them goes on when the last of those has ended, or at once.

    With 10 for two workers that want 10 each, all takes twice as long but for the last, which is alone in the end.
    """
    host = Host(bandwidth, num_workers=2)
    pool, env = host.pool, host.env
    found: list[tuple[str, int, int]] = []
    jobs = [pool.queue(key, duration_ns, 10, layer=3) for key, duration_ns in ((1, 4), (2, 8), (3, 6))]

    def wait(name: str, after_ns: int, which: Sequence[PooledJob]) -> Generator[simpy.Event, None, None]:
        yield env.timeout(after_ns)
        ended = pool.ended(which)
        if ended is not None:
            yield ended
        found.append((name, int(env.now), last_end_ns(which)))

    for name, after_ns, which in (("all", 0, jobs), ("first", 1, jobs[:1]), ("late", 30, jobs[1:])):
        env.process(wait(name, after_ns, which))
    env.run()
    if bandwidth is None:  # known at once
        assert found == [("all", 0, 10), ("first", 1, 4), ("late", 30, 10)]
    elif bandwidth == 40:
        assert found == [("first", 4, 4), ("all", 10, 10), ("late", 30, 10)]
    else:
        assert found == [("first", 8, 8), ("all", 18, 18), ("late", 30, 18)]
    assert [(job.key, job.layer, job.worker) for job in jobs] == [(1, 3, 0), (2, 3, 1), (3, 3, 0)]


def test_what_is_not_known_yet() -> None:
    """A job that shares memory has no end before it has ended, and no start before a worker takes it."""
    host = Host(10)
    jobs = [host.pool.queue(key, 5, 10) for key in (1, 2)]
    assert [(job.start_ns, job.end_ns) for job in jobs] == [(0, UNKNOWN_NS), (UNKNOWN_NS, UNKNOWN_NS)]
    host.env.run()
    assert [(job.start_ns, job.end_ns) for job in jobs] == [(0, 5), (5, 10)]
    assert host.pool.ended(jobs) is None
    assert last_end_ns([]) == 0


@pytest.mark.parametrize("bandwidth", [10, None])
def test_jobs_that_take_no_time(bandwidth: int | None) -> None:
    """They start and end at once, on the lowest worker that is free."""
    host = Host(bandwidth, num_workers=2)
    jobs = [host.pool.queue(key, duration_ns, 1) for key, duration_ns in ((1, 0), (2, 5), (3, 0), (4, 0))]
    host.env.run()
    assert [(job.worker, job.start_ns, job.end_ns) for job in jobs] == [(0, 0, 0), (0, 0, 5), (1, 0, 0), (1, 0, 0)]


def test_a_pool_has_a_worker() -> None:
    """With or without a memory."""
    with pytest.raises(ValueError, match="num_workers is 0"):
        CpuPool(Clock(), 0)
