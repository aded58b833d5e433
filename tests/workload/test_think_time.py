"""A closed loop of users against what each of them does."""

import heapq
from collections.abc import Callable
from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.workload.arrivals import Arrival
from simulator.workload.generators.protocol import NS_PER_S
from simulator.workload.labels import Labels
from simulator.workload.lengths.apart import Apart
from simulator.workload.lengths.fixed import Fixed
from simulator.workload.lengths.lognormal import LogNormal
from simulator.workload.think_time import ThinkTime

LENGTHS = Apart(LogNormal(mean=100.0, cv=1.0), Fixed(tokens=9))


def played(workload: ThinkTime, service_ns: Callable[[Arrival], int], seed: int = 1, most: int = 500) -> list[Arrival]:
    """Answer each request after its service, all at once; return the requests in order of time."""
    sent: list[Arrival] = []
    ends = [
        (request.arrival_ns + service_ns(request), index, request) for index, request in enumerate(workload.first(seed))
    ]
    heapq.heapify(ends)
    sent += [request for _, _, request in ends]
    while ends and len(sent) < most:
        now_ns, _, finished = heapq.heappop(ends)
        following = workload.after(finished, now_ns)
        if following is not None:
            assert following.arrival_ns >= now_ns
            sent.append(following)
            heapq.heappush(ends, (following.arrival_ns + service_ns(following), len(sent), following))
    return sorted(sent, key=lambda request: request.arrival_ns)


def test_users_ask_after_they_have_thought() -> None:
    """Two users, 3 s of thought, 1 s of service: at 0, 4, 8."""
    workload = ThinkTime(LENGTHS, users=2, think_s=3.0, thinking="fixed", max_requests=6)
    sent = played(workload, lambda _: NS_PER_S)
    assert [(request.arrival_ns // NS_PER_S, request.session) for request in sent] == [
        (0, 0),
        (0, 1),
        (4, 0),
        (4, 1),
        (8, 0),
        (8, 1),
    ]


def test_thinking_first_spreads_the_beginning() -> None:
    """Users begin at times of their own, in order of time; fixed thought begins after one."""
    begins = [one.arrival_ns for one in ThinkTime(LENGTHS, users=50, think_s=2.0, think_first=True).first(1)]
    assert begins == sorted(begins)
    assert len(set(begins)) == 50
    fixed = ThinkTime(LENGTHS, users=2, think_s=2.0, thinking="fixed", think_first=True).first(1)
    assert [one.arrival_ns for one in fixed] == [2 * NS_PER_S] * 2


def test_exponential_thought_has_its_mean() -> None:
    """The gaps of one user with no service, 2 s on average."""
    sent = played(ThinkTime(LENGTHS, users=1, think_s=2.0), lambda _: 0, most=5000)
    assert fmean([sent[-1].arrival_ns / NS_PER_S / (len(sent) - 1)]) == pytest.approx(2.0, rel=0.05)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), users=st.integers(1, 5))
def test_a_users_requests_do_not_depend_on_how_fast_others_are_served(seed: int, users: int) -> None:
    """The n-th request of a user has the same length, class and category under any service."""
    labels = Labels(classes={"a": 1, "b": 1}, categories={"x": 1, "y": 2})

    def of_users(service_ns: Callable[[Arrival], int]) -> dict[int | None, list[tuple[int, str, str | None]]]:
        workload = ThinkTime(LENGTHS, users=users, think_s=1.0, labels=labels)
        told: dict[int | None, list[tuple[int, str, str | None]]] = {user: [] for user in range(users)}
        for request in played(workload, service_ns, seed, most=60):
            told[request.session].append((request.prompt_tokens, request.class_name, request.category))
        return told

    slow = Random(seed)
    first, second = of_users(lambda _: 0), of_users(lambda _: slow.randrange(10 * NS_PER_S))
    for user in range(users):
        both = min(len(first[user]), len(second[user]))
        assert first[user][:both] == second[user][:both]


def test_bounds_hold_for_all_users_together() -> None:
    """No more than max_requests, the first ones among them; none at or after the stop; a second run begins anew."""
    workload = ThinkTime(LENGTHS, users=4, think_s=1.0, max_requests=10)
    assert len(played(workload, lambda _: NS_PER_S)) == 10
    assert len(played(workload, lambda _: NS_PER_S)) == 10
    assert len(list(ThinkTime(LENGTHS, users=4, max_requests=3).first(0))) == 3
    stopped = played(ThinkTime(LENGTHS, users=4, think_s=1.0, stop_ns=20 * NS_PER_S), lambda _: NS_PER_S)
    assert 20 < len(stopped) < 500
    assert max(one.arrival_ns for one in stopped) < 20 * NS_PER_S


def test_a_strangers_answer_is_refused() -> None:
    """A request of no user, or of a user that is not there."""
    workload = ThinkTime(LENGTHS, users=2)
    workload.first(0)
    for session in (None, 2, -1):
        request = Arrival(arrival_ns=0, prompt_tokens=1, output_tokens=1, session=session)
        with pytest.raises(ValueError, match="session is"):
            workload.after(request, 0)


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("users is 0", lambda: ThinkTime(LENGTHS, users=0)),
        ("think_s is -1", lambda: ThinkTime(LENGTHS, users=1, think_s=-1.0)),
        ("max_requests is 0", lambda: ThinkTime(LENGTHS, users=1, max_requests=0)),
    ],
)
def test_what_is_no_loop_is_refused(says: str, call: object) -> None:
    """With the parameter and its value."""
    assert callable(call)
    with pytest.raises(ValueError, match=says):
        call()
