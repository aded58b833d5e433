"""The link, by its log of services: (key, why it was issued, start, end)."""

import random
from collections.abc import Callable, Generator, Sequence

import pytest
import simpy

from simulator.resources.clock import Clock
from simulator.resources.link import Link
from simulator.resources.transfers import Transfer

Service = tuple[int, str, int, int]
Decision = Callable[[Link], None]


def services(
    decisions: Sequence[tuple[int, Decision]],
    *,
    chunk_ends_ns: Sequence[int] = (10,),
    chunk_ends_of: Callable[[int], Sequence[int]] | None = None,
) -> tuple[list[Service], list[tuple[int, int]], Link]:
    """Take decisions at their times; return the services, the deliveries (time, key), and the link at the end."""
    env = Clock()
    log: list[Service] = []
    delivered: list[tuple[int, int]] = []

    def note(transfer: Transfer, start_ns: int, end_ns: int) -> None:
        log.append((transfer.key, "prefetch" if transfer.is_prefetch else "demand", start_ns, end_ns))

    link = Link(
        env,
        chunk_ends_ns=chunk_ends_ns if chunk_ends_of is None else (),
        chunk_ends_of=chunk_ends_of,
        deliver=lambda transfer: delivered.append((int(env.now), transfer.key)),
        on_service=note,
    )

    def decide() -> Generator[simpy.Event, None, None]:
        for at_ns, decision in decisions:
            yield env.timeout(at_ns - int(env.now))
            decision(link)

    env.process(decide())
    env.run()
    return log, delivered, link


def demand(key: int) -> Decision:
    """Decide on a demand fetch."""
    return lambda link: link.demand(key)


def prefetch(key: int) -> Decision:
    """Decide on a prefetch."""
    return lambda link: link.prefetch(key)


def promote(key: int) -> Decision:
    """Decide that a key under way is needed."""
    return lambda link: link.promote(key)


def test_demands_are_served_first_come_first_served() -> None:
    """One at a time, in order of arrival, without gaps."""
    log, delivered, _ = services([(0, demand(1)), (0, demand(2)), (3, demand(3))])
    assert log == [(1, "demand", 0, 10), (2, "demand", 10, 20), (3, "demand", 20, 30)]
    assert delivered == [(10, 1), (20, 2), (30, 3)]


def test_prefetches_are_served_first_come_first_served() -> None:
    """Among prefetches, order of arrival as well; an idle link takes the next at once."""
    log, _, _ = services([(0, prefetch(1)), (0, prefetch(2)), (50, prefetch(3))])
    assert log == [(1, "prefetch", 0, 10), (2, "prefetch", 10, 20), (3, "prefetch", 50, 60)]


def test_demand_goes_before_queued_prefetches() -> None:
    """A demand waits for the transfer in service alone, not for the prefetches that were queued before it."""
    log, _, _ = services([(0, prefetch(1)), (0, prefetch(2)), (4, demand(3))])
    assert log == [(1, "prefetch", 0, 10), (3, "demand", 10, 20), (2, "prefetch", 20, 30)]


def test_a_transfer_in_flight_is_never_aborted() -> None:
    """Without chunks, a demand that comes one ns after a prefetch's start waits for its end."""
    log, _, _ = services([(0, prefetch(1)), (1, demand(2))])
    assert log == [(1, "prefetch", 0, 10), (2, "demand", 10, 20)]


def test_demand_overtakes_at_the_next_chunk_boundary_and_the_prefetch_resumes_before_others() -> None:
    """Chunks end after 4, 7 and 10: a demand at 5 is served from 7 on; the prefetch then has 3 left, ahead of key 3.

    The first chunk is longer by the latency, which is paid once: the two stretches of key 1 take 10 together.
    """
    log, delivered, _ = services(
        [(0, prefetch(1)), (0, prefetch(3)), (5, demand(2))],
        chunk_ends_ns=(4, 7, 10),
    )
    assert log == [(1, "prefetch", 0, 7), (2, "demand", 7, 17), (1, "prefetch", 17, 20), (3, "prefetch", 20, 30)]
    assert delivered == [(17, 2), (20, 1), (30, 3)]


def test_demand_at_a_chunk_boundary_is_served_at_once() -> None:
    """A demand that comes at 4, where a chunk ends, starts at 4."""
    log, _, _ = services([(0, prefetch(1)), (4, demand(2))], chunk_ends_ns=(4, 7, 10))
    assert log == [(1, "prefetch", 0, 4), (2, "demand", 4, 14), (1, "prefetch", 14, 20)]


def test_demand_in_the_last_chunk_waits_for_the_end() -> None:
    """After the last boundary there is nothing left to overtake at."""
    log, _, _ = services([(0, prefetch(1)), (8, demand(2))], chunk_ends_ns=(4, 7, 10))
    assert log == [(1, "prefetch", 0, 10), (2, "demand", 10, 20)]


def test_a_prefetch_gives_way_again_and_again() -> None:
    """Interrupted at 4 and, resumed, at 7 of its own service, it still takes 10 in all."""
    log, _, link = services([(0, prefetch(1)), (2, demand(2)), (15, demand(3))], chunk_ends_ns=(4, 7, 10))
    assert log == [
        (1, "prefetch", 0, 4),
        (2, "demand", 4, 14),
        (1, "prefetch", 14, 17),
        (3, "demand", 17, 27),
        (1, "prefetch", 27, 30),
    ]
    assert link.busy_ns() == 30


def test_demands_do_not_overtake_demands() -> None:
    """Chunk boundaries mean nothing to a demand in service."""
    log, _, _ = services([(0, demand(1)), (1, demand(2))], chunk_ends_ns=(4, 7, 10))
    assert log == [(1, "demand", 0, 10), (2, "demand", 10, 20)]


def test_promotion_of_a_queued_prefetch() -> None:
    """It joins the demands, behind those that wait already, and before all prefetches."""
    log, _, _ = services(
        [(0, demand(1)), (0, prefetch(2)), (0, prefetch(3)), (1, demand(4)), (2, promote(3)), (3, demand(5))]
    )
    assert [key for key, *_ in log] == [1, 4, 3, 5, 2]


def test_promotion_makes_a_prefetch_in_service_give_way() -> None:
    """Key 2, promoted at 1, overtakes key 1 at its boundary at 4 as any demand does."""
    log, _, _ = services([(0, prefetch(1)), (0, prefetch(2)), (1, promote(2))], chunk_ends_ns=(4, 10))
    assert log == [(1, "prefetch", 0, 4), (2, "prefetch", 4, 14), (1, "prefetch", 14, 20)]


def test_promotion_in_service_forbids_interruption() -> None:
    """Once asked for, a prefetch in service is a demand: later demands wait for its end."""
    log, _, _ = services([(0, prefetch(1)), (1, promote(1)), (2, demand(2))], chunk_ends_ns=(4, 7, 10))
    assert log == [(1, "prefetch", 0, 10), (2, "demand", 10, 20)]


def test_promotion_in_service_after_a_demand_of_the_same_instant() -> None:
    """The demand would have had it give way at 4; needed itself, it goes on to its end."""
    log, _, _ = services([(0, prefetch(1)), (2, demand(2)), (2, promote(1))], chunk_ends_ns=(4, 7, 10))
    assert log == [(1, "prefetch", 0, 10), (2, "demand", 10, 20)]


def test_promotion_of_an_interrupted_prefetch() -> None:
    """Interrupted at 4 and promoted at 5, it waits its turn among the demands and has 6 left to go."""
    log, _, _ = services(
        [(0, prefetch(1)), (3, demand(2)), (3, demand(3)), (5, promote(1)), (6, demand(4))], chunk_ends_ns=(4, 7, 10)
    )
    assert log == [
        (1, "prefetch", 0, 4),
        (2, "demand", 4, 14),
        (3, "demand", 14, 24),
        (1, "prefetch", 24, 30),
        (4, "demand", 30, 40),
    ]


def test_a_cancelled_prefetch_is_never_served() -> None:
    """Key 2 is taken out of the queue at 1; key 1, in service, is not."""
    found: list[list[int]] = []
    cancelled: list[bool] = []

    def purge(link: Link) -> None:
        found.append(link.queued_prefetches())
        cancelled.extend(link.cancel(key) is not None for key in (1, 2))

    log, delivered, _ = services([(0, prefetch(1)), (0, prefetch(2)), (0, prefetch(3)), (1, purge)])
    assert (found, cancelled) == ([[2, 3]], [False, True])
    assert log == [(1, "prefetch", 0, 10), (3, "prefetch", 10, 20)]
    assert delivered == [(10, 1), (20, 3)]


def test_cancelling_what_has_given_way_says_what_was_in_vain() -> None:
    """Interrupted at 4 and cancelled at 5, it has been served for 4; prefetched again, it starts anew."""
    in_vain: list[int] = []

    def cancel(link: Link) -> None:
        transfer = link.cancel(1)
        assert transfer is not None
        in_vain.append(transfer.served_ns)

    decisions = [(0, prefetch(1)), (3, demand(2)), (5, cancel), (6, prefetch(1))]
    log, delivered, link = services(decisions, chunk_ends_ns=(4, 7, 10))
    assert in_vain == [4]
    assert log == [(1, "prefetch", 0, 4), (2, "demand", 4, 14), (1, "prefetch", 14, 24)]
    assert delivered == [(14, 2), (24, 1)]
    assert link.busy_ns() == 24


def test_promotion_of_a_demand_changes_nothing() -> None:
    """A demand keeps its place however often it is asked for."""
    log, _, _ = services([(0, demand(1)), (0, demand(2)), (0, demand(3)), (1, promote(2)), (1, promote(1))])
    assert [key for key, *_ in log] == [1, 2, 3]


def test_a_prefetch_that_starts_at_the_instant_of_a_demand_gives_way() -> None:
    """At 10 key 1 ends and key 2 starts; the demand of that instant is served in its place, and 2 keeps its turn."""
    log, _, _ = services([(0, prefetch(1)), (0, prefetch(2)), (0, prefetch(4)), (10, demand(3))])
    assert log == [
        (1, "prefetch", 0, 10),
        (3, "demand", 10, 20),
        (2, "prefetch", 20, 30),
        (4, "prefetch", 30, 40),
    ]


def test_a_prefetch_and_a_demand_of_one_instant_on_an_idle_link() -> None:
    """The demand is served first, though it was decided later."""
    log, _, _ = services([(5, prefetch(1)), (5, demand(2))])
    assert log == [(2, "demand", 5, 15), (1, "prefetch", 15, 25)]


def test_what_ends_at_an_instant_is_delivered_before_decisions_of_that_instant() -> None:
    """A decision at 10 finds the transfer that ends at 10 delivered."""
    seen: list[bool] = []
    services([(0, demand(1)), (10, lambda link: seen.append(link.serving is None))])
    assert seen == [True]


def test_busy_time_and_queue() -> None:
    """Busy time counts the service that is going on, up to now; the queue counts those that wait."""
    seen: list[tuple[int, int]] = []
    look: Decision = lambda link: seen.append((link.busy_ns(), link.num_queued()))  # noqa: E731
    _, _, link = services(
        [(0, look), (5, demand(1)), (5, prefetch(2)), (5, look), (8, look), (15, look), (22, look), (40, look)]
    )
    assert seen == [(0, 0), (0, 1), (3, 1), (10, 0), (17, 0), (20, 0)]
    assert link.busy_ns() == 20


def test_transfers_of_two_sizes() -> None:
    """Keys from 100 on take 3, in one chunk; the others 10, in three. Each gives way at its own boundaries."""

    def chunk_ends_of(key: int) -> Sequence[int]:
        return (3,) if key >= 100 else (4, 7, 10)

    log, _, link = services(
        [(0, prefetch(1)), (0, prefetch(101)), (2, demand(102)), (18, demand(2)), (18, demand(103))],
        chunk_ends_of=chunk_ends_of,
    )
    assert log == [
        (1, "prefetch", 0, 4),
        (102, "demand", 4, 7),
        (1, "prefetch", 7, 13),
        (101, "prefetch", 13, 16),
        (2, "demand", 18, 28),
        (103, "demand", 28, 31),
    ]
    assert link.busy_ns() == 29
    log, _, _ = services([(0, prefetch(101)), (2, demand(2)), (2, prefetch(1))], chunk_ends_of=chunk_ends_of)
    assert log == [(101, "prefetch", 0, 3), (2, "demand", 3, 13), (1, "prefetch", 13, 23)]


def test_the_size_of_what_is_in_service_counts() -> None:
    """A promotion in service goes on to the end of its own size, after others of another size have been served."""

    def chunk_ends_of(key: int) -> Sequence[int]:
        return (1, 2) if key >= 100 else (4, 7, 10)

    decisions = [(0, demand(101)), (0, prefetch(1)), (3, demand(102)), (4, promote(1)), (5, prefetch(103))]
    log, _, _ = services(decisions, chunk_ends_of=chunk_ends_of)
    assert log == [(101, "demand", 0, 2), (1, "prefetch", 2, 12), (102, "demand", 12, 14), (103, "prefetch", 14, 16)]


@pytest.mark.parametrize("chunk_ends_ns", [(), (-1,)])
def test_a_link_needs_a_duration(chunk_ends_ns: tuple[int, ...]) -> None:
    """No duration and a negative one are refused, with the value."""
    with pytest.raises(ValueError, match="chunk_ends_ns is"):
        Link(Clock(), chunk_ends_ns=chunk_ends_ns, deliver=lambda _: None)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waiting_times_are_those_of_an_m_d_1_queue(load: float) -> None:
    """With Poisson arrivals the mean wait is rho D / (2 (1 - rho)), within three standard errors of batch means.

    Source: Pollaczek-Khinchine for a constant service time D at utilisation rho.
    """
    service_ns, num_arrivals, num_batches = 10_000, 24_000, 24
    draw = random.Random(7)
    arrival_ns: list[int] = []
    now_ns = 0.0
    for _ in range(num_arrivals):
        now_ns += draw.expovariate(load / service_ns)
        arrival_ns.append(round(now_ns))
    decisions = [(at_ns, demand(key)) for key, at_ns in enumerate(arrival_ns)]
    log, _, link = services(decisions, chunk_ends_ns=(service_ns,))
    assert link.busy_ns() == num_arrivals * service_ns
    waits_ns = [start_ns - arrival_ns[key] for key, _, start_ns, _ in log]
    per_batch = num_arrivals // num_batches
    means = [sum(waits_ns[at : at + per_batch]) / per_batch for at in range(0, num_arrivals, per_batch)]
    mean = sum(means) / num_batches
    variance = sum((batch - mean) ** 2 for batch in means) / (num_batches - 1)
    error_ns = (variance / num_batches) ** 0.5
    expected_ns = load * service_ns / (2 * (1 - load))
    assert error_ns < 0.05 * expected_ns, "too few arrivals to tell"
    assert abs(mean - expected_ns) < 3 * error_ns
