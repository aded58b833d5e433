"""Shared bandwidth: closed forms, laws, and a plain loop in fractions."""

from collections.abc import Generator, Sequence
from fractions import Fraction

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.resources.clock import Clock
from simulator.resources.host_memory import Flow, HostMemory, TrafficFactors, demand_bytes_per_s, is_ever_short
from tests.resources.plain_memory import plain_ends, plain_rates

flows_drawn = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.integers(0, 15)), max_size=7).map(
    lambda drawn: sorted(drawn, key=lambda flow: flow[0])
)


def ends(flows: Sequence[tuple[int, int, int]], bandwidth: int) -> list[int]:
    """Return when each of the flows (start, demand, duration) ends, which have ranks in this order."""
    env = Clock()
    memory = HostMemory(env, bandwidth)
    ends_ns = [-1] * len(flows)

    def note(index: int) -> None:
        ends_ns[index] = int(env.now)

    def begin() -> Generator[simpy.Event, None, None]:
        for index, (start_ns, demand, duration_ns) in enumerate(flows):
            yield env.timeout(start_ns - int(env.now))
            memory.start(index, demand, duration_ns, lambda index=index: note(index))  # type: ignore[misc]

    env.process(begin())
    env.run()
    return ends_ns


def test_a_flow_by_itself_takes_its_own_time() -> None:
    """If it fits the bandwidth; else as much longer as its demand is larger, rounded up."""
    assert ends([(5, 10, 7)], 10) == [12]
    assert ends([(5, 20, 7)], 10) == [19]
    assert ends([(5, 13, 7)], 10) == [15]  # 9.1


def test_equal_demands_share_equally() -> None:
    """Two that want all of it take twice as long; the one that has come later ends later by what it missed."""
    assert ends([(0, 10, 6), (0, 10, 6)], 10) == [12, 12]
    assert ends([(0, 10, 6), (4, 10, 6)], 10) == [8, 12]


def test_a_small_flow_is_unharmed() -> None:
    """It wants less than an equal share of 10 / 3: the other two have 4 each until 9, then 5 each for the other 36."""
    assert ends([(0, 2, 9), (0, 8, 9), (0, 8, 9)], 10) == [9, 17, 17]


def test_what_one_leaves_the_others_have() -> None:
    """8 and 8 share 10 until 5, when the first's 24 are through: then the second has 7 left of its 32, at 8."""
    assert ends([(0, 8, 3), (0, 8, 4)], 10) == [5, 6]


def test_ends_of_one_instant_come_in_order_of_rank() -> None:
    """However they were started."""
    env = Clock()
    memory = HostMemory(env, 10)
    ended: list[int] = []
    for rank in (3, 1, 2):
        memory.start(rank, 10, 4, lambda rank=rank: ended.append(rank))  # type: ignore[misc]
    env.run()
    assert ended == [1, 2, 3]
    assert env.now == 12


def test_what_begins_as_another_ends_shares_from_then_on() -> None:
    """A flow that is started by the end of another is in time for the same instant's rates, and has the rank it says."""
    env = Clock()
    memory = HostMemory(env, 10)
    ended: list[tuple[str, int]] = []

    def first_ended() -> None:
        ended.append(("first", int(env.now)))
        memory.start(0, 10, 3, lambda: ended.append(("third", int(env.now))))

    memory.start(0, 10, 2, first_ended)
    memory.start(1, 10, 5, lambda: ended.append(("second", int(env.now))))
    env.run()
    assert ended == [("first", 4), ("third", 10), ("second", 10)]


def test_a_flow_can_be_sent_elsewhere_and_stopped() -> None:
    """At half speed it has come to 2 at 4; sent to 3 it ends at 6, sent to 9 it goes on, and stopped it never ends."""
    env = Clock()
    memory = HostMemory(env, 10)
    ended: list[tuple[str, int]] = []
    flow = memory.start(0, 10, 6, lambda: ended.append(("first", int(env.now))))
    other = memory.start(1, 10, 50, lambda: ended.append(("other", int(env.now))))
    env.run(until=4)
    assert memory.served_ns(flow) == 2
    memory.aim(flow, 3)
    env.run(until=5)
    memory.aim(flow, 9)
    env.run(until=7)
    assert ended == []
    assert memory.served_ns(flow) == Fraction(7, 2)
    memory.stop(other)
    memory.aim(flow, 4)
    env.run()
    assert ended == [("first", 8)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(flows=flows_drawn, bandwidth=st.integers(3, 30))
def test_same_ends_as_nanosecond_by_nanosecond(flows: list[tuple[int, int, int]], bandwidth: int) -> None:
    """Every flow ends at the same instant."""
    assert ends(flows, bandwidth) == plain_ends(flows, bandwidth)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(flows=flows_drawn)
def test_nothing_is_slowed_down_where_all_fit(flows: list[tuple[int, int, int]]) -> None:
    """With the sum of all demands at hand, each takes its own time."""
    bandwidth = max(1, sum(demand for _, demand, _ in flows))
    assert ends(flows, bandwidth) == [start_ns + duration_ns for start_ns, _, duration_ns in flows]
    assert not is_ever_short(bandwidth, [demand for _, demand, _ in flows])
    assert is_ever_short(bandwidth, [bandwidth, 1])


@settings(derandomize=True, deadline=None, max_examples=100)
@given(works=st.lists(st.tuples(st.integers(9, 20), st.integers(1, 25)), min_size=1, max_size=8))
def test_the_memory_is_never_idle_while_it_is_wanted(works: list[tuple[int, int]]) -> None:
    """Where each alone wants it all, the last ends when all bytes have passed, but for a ns per end."""
    total, bandwidth = sum(demand * duration_ns for demand, duration_ns in works), 9
    last_ns = max(ends([(0, demand, duration_ns) for demand, duration_ns in works], bandwidth))
    assert Fraction(total, bandwidth) <= last_ns < Fraction(total, bandwidth) + len(works)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(flows=flows_drawn, bandwidth=st.integers(3, 30))
def test_in_each_nanosecond_the_bandwidth_or_all_that_is_wanted_passes(
    flows: list[tuple[int, int, int]], bandwidth: int
) -> None:
    """Looked at from outside: what all have been served grows by just that, and by less where a flow ends within.

    In the end each has been served its bytes, no more and no less.
    """
    env = Clock()
    memory = HostMemory(env, bandwidth)
    begun: list[Flow] = []

    def served() -> list[Fraction]:
        return [memory.served_ns(flow) * flow.demand if flow.end_ns > env.now else of(flow) for flow in begun]

    def of(flow: Flow) -> Fraction:
        return Fraction(flow.target_ns * flow.demand)

    now_ns = 0
    while len(begun) < len(flows) or any(flow.end_ns > env.now for flow in begun):
        begun += [
            memory.start(index, demand, duration_ns, lambda: None)
            for index, (start_ns, demand, duration_ns) in enumerate(flows)
            if start_ns == now_ns
        ]
        before, wanting = served(), [flow for flow in begun if flow.end_ns > now_ns]
        now_ns += 1
        env.run(until=env.timeout(1))  # what ends at the next instant has ended
        passed = [after - earlier for after, earlier in zip(served(), before, strict=True)]
        due = min(bandwidth, sum(flow.demand for flow in wanting))
        assert sum(passed) <= due
        if all(flow.end_ns > now_ns for flow in wanting):
            assert sum(passed) == due
            assert [passed[begun.index(flow)] for flow in wanting] == plain_rates(
                [flow.demand for flow in wanting], bandwidth
            )
    assert served() == [demand * duration_ns for _, demand, duration_ns in flows]


def test_demands_and_factors() -> None:
    """A copy of 25 MB in 1 ms draws 25 GB/s, from pageable memory three times that; what does not divide is rounded up."""
    factors = TrafficFactors()
    assert demand_bytes_per_s(25_000_000, 1_000_000, factors.of_copy(is_pageable=False)) == 25 * 10**9
    assert demand_bytes_per_s(25_000_000, 1_000_000, factors.of_copy(is_pageable=True)) == 75 * 10**9
    assert demand_bytes_per_s(10, 3 * 10**9, factors.cpu_expert) == 4
    assert demand_bytes_per_s(1, 10**12) == 1


def test_what_makes_no_sense_is_refused() -> None:
    """With the value."""
    with pytest.raises(ValueError, match="bytes_per_s is 0"):
        HostMemory(Clock(), 0)
    with pytest.raises(ValueError, match="demand is 0"):
        HostMemory(Clock(), 1).start(0, 0, 1, lambda: None)
    with pytest.raises(ValueError, match="duration_ns 0"):
        demand_bytes_per_s(1, 0)
