"""Laws that hold in every run of several replicas, over random workloads with preemption."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.metrics.littles_law import littles_law
from simulator.replicas.whole import merged_counters, merged_record
from simulator.request_router import REQUEST_ROUTER
from simulator.serving.feed import ClosedFeed, Feed, OpenFeed
from simulator.serving.stop import Bounds
from simulator.workload.arrivals import Arrival
from tests.replicas.harness import Outcomes, serve_replicas
from tests.serving.harness import Stated, serve
from tests.serving.test_laws import KV_BYTES, TRACE, services


class Users:
    """Some users who each ask several times; some think, some ask again at once."""

    def __init__(self, asked: Sequence[Arrival], num_users: int) -> None:
        self._asked, self._num_users = asked, num_users

    def first(self, seed: int) -> Sequence[Arrival]:
        """Ask for the first time, each user with what it will ask after."""
        of_users = [list(self._asked[user :: self._num_users]) for user in range(self._num_users)]
        self._left = {user: asks for user, asks in enumerate(of_users) if asks}
        self._random = Random(seed)
        return [replace(asks.pop(0), arrival_ns=0, session=user) for user, asks in self._left.items()]

    def after(self, finished: Arrival, now_ns: int) -> Arrival | None:
        """Ask again, now or later."""
        assert finished.session is not None
        asks = self._left[finished.session]
        if not asks:
            return None
        return replace(asks.pop(0), arrival_ns=now_ns + self._random.choice((0, 0, 30, 1500)), session=finished.session)


@st.composite
def groups(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a small service of some replicas."""
    service: dict[str, Any] = dict(draw(services()))
    service["users"] = draw(st.sampled_from([0, 0, 1, 3, 6]))
    service["count"] = draw(st.integers(1, 4))
    service["router"] = draw(st.sampled_from(sorted(REQUEST_ROUTER)))
    service["sticky"] = draw(st.booleans())
    service["bounds"] = draw(
        st.sampled_from([Bounds()] * 3 + [Bounds(requests=3), Bounds(tokens=17), Bounds(time_ns=900)])
    )
    return service


def feed_of(service: Mapping[str, Any]) -> Feed:
    """Return its requests as they arrive, whether or not others are answered."""
    asked, users = service["requests"], service["users"]
    return ClosedFeed(Users(asked, users), 3) if users else OpenFeed(Stated(requests=asked), 0)


def run(service: Mapping[str, Any], **changed: Any) -> Outcomes:  # noqa: ANN401
    """Run it."""
    given_to = {**service, **changed}
    feed = feed_of(given_to)
    del given_to["requests"], given_to["users"]
    return serve_replicas(feed, TRACE, **given_to)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(groups())
def test_no_request_is_lost_or_counted_twice(service: Mapping[str, Any]) -> None:
    """Each is given to one replica, which refuses it, or answers it, or has it at the end; nothing is left in between."""
    out = run(service)
    assert sum(inbox.num_given for inbox in out.front.inboxes) == out.num_arrived
    taken = [request.index for request in out.requests]
    left = [request.index for inbox in out.front.inboxes for request in inbox.waiting]
    assert sorted(taken + left) == list(range(out.num_arrived))
    if service["bounds"] == Bounds():
        assert out.num_arrived == len(taken) == len(service["requests"])
    for at, replica in enumerate(out.each):
        record = replica.record
        finished = sum(request.finished for request in record.requests)
        refused = sum(request.is_refused for request in record.requests)
        assert finished == record.num_finished
        assert finished + refused + replica.scheduler.in_system() == len(record.requests)
        assert {request.replica for request in record.requests} <= {at}
        emitted = [index for _, emits, _ in replica.steps for index in emits]
        assert len(emitted) == record.num_tokens
        for request in record.requests:
            if request.finished:
                assert emitted.count(request.index) == request.arrival.output_tokens
        assert replica.memory.peak_bytes <= KV_BYTES
        if service["bounds"] == Bounds():
            assert replica.memory.used_bytes == replica.scheduler.in_system() == 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(groups())
def test_littles_law_of_each_and_of_all(service: Mapping[str, Any]) -> None:
    """What was counted as time went by is the requests' own times; the GPUs' time adds up to as many makespans."""
    out = run(service)
    counted = [replica.engine.snapshot() for replica in out.each]
    end_ns = counted[0].now_ns
    for counters in counted:
        busy_ns = sum(counters.attribution_ns().values())
        assert busy_ns + counters.kv_swap_ns + counters.idle_ns == counters.now_ns == end_ns
    merged = merged_counters(counted)
    assert sum(merged.attribution_ns().values()) + merged.kv_swap_ns + merged.idle_ns == end_ns * len(counted)
    for record in (*(replica.record for replica in out.each), merged_record([one.record for one in out.each])):
        stays = [
            (request.arrival.arrival_ns, request.finished_ns if request.finished else None)
            for request in record.requests
            if not request.is_refused
        ]
        assert littles_law(stays, record.waiting_ns + record.running_ns, end_ns).holds
        totals = dict(zip(record.series.names, map(sum, zip(*record.series.bins, strict=True)), strict=True))
        assert totals.get("waiting_ns", 0) == record.waiting_ns
        assert totals.get("running_ns", 0) == record.running_ns
    assert merged.output_tokens == merged_record([one.record for one in out.each]).num_tokens


@settings(max_examples=120, deadline=None, derandomize=True)
@given(groups())
def test_one_replica_is_the_service_itself(service: Mapping[str, Any]) -> None:
    """Behind a router, one machine takes the same steps at the same ns as without, and counts the same."""
    behind = run(service, count=1)
    parts = ("trace", "count", "router", "sticky", "users", "requests")
    alone = serve(feed_of(service), TRACE, **{key: value for key, value in service.items() if key not in parts})
    (one,) = behind.each
    assert one.steps == alone.steps
    assert one.engine.snapshot() == alone.engine.snapshot()
    assert one.record.series.bins == alone.record.series.bins
    assert (one.record.waiting_ns, one.record.running_ns) == (alone.record.waiting_ns, alone.record.running_ns)
    times = [
        [(each.index, each.arrival, each.started_ns, each.finished_ns, each.waited_ns) for each in record.requests]
        for record in (one.record, alone.record)
    ]
    assert times[0] == times[1]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(groups())
def test_the_same_again(service: Mapping[str, Any]) -> None:
    """The same requests go to the same replicas, and are served the same way."""
    first, second = run(service), run(service)
    assert [out.steps for out in first.each] == [out.steps for out in second.each]
    assert [one.replica for one in first.requests] == [one.replica for one in second.requests]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(groups())
def test_sessions_stick(service: Mapping[str, Any]) -> None:
    """Where they do, all requests of a user are served by one replica."""
    out = run(service, sticky=True, users=service["users"] or 3)
    homes: dict[int | None, int] = {}
    for request in out.requests:
        assert homes.setdefault(request.arrival.session, request.replica) == request.replica
