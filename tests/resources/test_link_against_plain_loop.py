"""The link against a plain loop over instants, on random arrivals."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.resources.link import Link
from tests.resources.plain_link import plain_services
from tests.resources.test_link import services

NUM_KEYS = 8
Arrivals = list[tuple[int, str, int]]

chunkings = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(lambda chunks: tuple(accumulate(chunks)))
arrivals = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from(["want", "prefetch", "prefetch"]), st.integers(0, NUM_KEYS - 1)),
    max_size=40,
).map(lambda drawn: sorted(drawn, key=lambda arrival: arrival[0]))


def decision(kind: str, key: int) -> Callable[[Link], None]:
    """Carry out an arrival as the executor of policies does: a key that is under way is promoted, or left alone."""

    def decide(link: Link) -> None:
        queued = {transfer.key for transfer in (*link._queue.demands, *link._queue.prefetches)}
        if key not in queued and (link.serving is None or link.serving.key != key):
            (link.demand if kind == "want" else link.prefetch)(key)
        elif kind == "want":
            link.promote(key)

    return decide


def link_services(drawn: Arrivals, chunk_ends_ns: Sequence[int]) -> tuple[list[tuple[int, int, int]], Link]:
    """Return the services of the link itself as (key, start, end), and the link."""
    decisions = [(at_ns, decision(kind, key)) for at_ns, kind, key in drawn]
    log, _, link = services(decisions, chunk_ends_ns=chunk_ends_ns)
    return [(key, start_ns, end_ns) for key, _, start_ns, end_ns in log], link


@settings(derandomize=True, deadline=None, max_examples=400)
@given(drawn=arrivals, chunk_ends_ns=chunkings)
def test_same_services(drawn: Arrivals, chunk_ends_ns: tuple[int, ...]) -> None:
    """Every stretch of service starts and ends at the same instants."""
    assert link_services(drawn, chunk_ends_ns)[0] == plain_services(drawn, chunk_ends_ns)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(drawn=arrivals, chunk_ends_ns=chunkings)
def test_busy_time_is_the_sum_of_transfers(drawn: Arrivals, chunk_ends_ns: tuple[int, ...]) -> None:
    """However often it was interrupted, each transfer takes its duration once, and no two overlap."""
    log, link = link_services(drawn, chunk_ends_ns)
    by_key: dict[int, int] = {}
    for key, start_ns, end_ns in log:
        by_key[key] = by_key.get(key, 0) + end_ns - start_ns
    assert all(total_ns % chunk_ends_ns[-1] == 0 for total_ns in by_key.values())
    assert link.busy_ns() == sum(by_key.values())
    assert all(end_ns <= start_ns for (_, _, end_ns), (_, start_ns, _) in pairwise(log))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(drawn=arrivals, chunk_ends_ns=chunkings, kind=st.sampled_from(["want", "prefetch"]))
def test_chunks_alone_change_nothing(drawn: Arrivals, chunk_ends_ns: tuple[int, ...], kind: str) -> None:
    """Where there is one class of transfers alone, the log with chunks is the log without."""
    of_one_kind = [(at_ns, kind, key) for at_ns, _, key in drawn]
    assert link_services(of_one_kind, chunk_ends_ns)[0] == link_services(of_one_kind, chunk_ends_ns[-1:])[0]
