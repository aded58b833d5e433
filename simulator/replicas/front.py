"""The front of a service of several replicas: requests arrive there, and each is given to a replica at once.

    an arrival falls due   the router chooses a replica, whose inbox the request joins; one that has nothing to do wakes
    a step ends            its replica takes what its inbox holds, as it would take arrivals of its own
    a request ends         its sender may send another, which may fall due at that very instant

Of what happens at one instant, arrivals that were known before come first: the router sees the replicas as they were.

Limits: giving a request to a replica takes no time, and what the router knows of replicas is never late. A request that
falls due while the last steps of a run are under way is given out and not taken, as one machine would not have taken it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from simpy.events import URGENT, Event

from hardware_profiles.errors import InputError
from simulator.request_router.protocol import Asked, RequestRouter
from simulator.resources.clock import Clock
from simulator.serving.intake import Requests
from simulator.serving.served import Served
from simulator.serving.stop import Stop
from simulator.workload.step import Step, Wait


class Front:
    """Give requests of the traffic to `inboxes`, one for each replica, until the run stops.

    With `sticky_sessions`, the router chooses for the first request of a session, and the others follow it.
    """

    def __init__(
        self, num_replicas: int, *, clock: Clock, incoming: Requests, stop: Stop, sticky_sessions: bool = False
    ) -> None:
        self.inboxes = [Inbox(self, clock) for _ in range(num_replicas)]
        self.asking: Served | None = None  # the request that the router is asked about
        self._clock = clock
        self._incoming = incoming
        self._stop = stop
        self._replica_of: dict[int, int] | None = {} if sticky_sessions else None
        self._num_inside = 0
        self._timer_ns: int | None = None
        self._router: RequestRouter | None = None
        self._wakes: Sequence[Callable[[], None]] = ()

    def open(self, router: RequestRouter, wakes: Sequence[Callable[[], None]]) -> None:
        """Let requests in. `wakes` have a replica that waits look into its inbox."""
        self._router = router
        self._wakes = wakes
        self._set_timer()

    def next_ns(self) -> int | None:
        """Return when the next request arrives that is not given out yet; None if none is known to."""
        return self._incoming.next_ns()

    def give_out(self) -> None:
        """Give out what has fallen due."""
        next_ns = self._incoming.next_ns()
        while next_ns is not None and next_ns <= self._clock.now and self._stop.reason is None:
            self._give(self._incoming.take())
            next_ns = self._incoming.next_ns()
        self._set_timer()

    def ended(self, request: Served, now_ns: int) -> None:
        """Hear that a replica has answered a request, or refused it."""
        self._num_inside -= 1
        self._incoming.ended(request, now_ns)
        self._set_timer()

    def may_get_more(self) -> bool:
        """Tell whether a request may come that is not known yet: from a sender who waits for an answer."""
        return self._num_inside > 0

    def followed(self, steps: Iterator[Step | Wait]) -> Iterator[Step | Wait]:
        """Yield a replica's steps; when there are no more, have those that wait see whether their run has ended too."""
        yield from steps
        for wake in self._wakes:
            wake()

    def _give(self, request: Served) -> None:
        replica = self._chosen(request)
        request.replica = replica
        self._num_inside += 1
        self.inboxes[replica].given(request)
        self._wakes[replica]()

    def _chosen(self, request: Served) -> int:
        assert self._router is not None
        arrival, replica_of = request.arrival, self._replica_of
        if replica_of is not None and arrival.session is not None and arrival.session in replica_of:
            return replica_of[arrival.session]
        self.asking = request
        asked = Asked(
            prompt_tokens=arrival.prompt_tokens,
            class_name=arrival.class_name,
            category=arrival.category,
            session=arrival.session,
        )
        replica = self._router.choose(asked)
        if not 0 <= replica < len(self.inboxes):
            raise InputError(
                "replicas",
                f"router: {type(self._router).__name__} chose replica {replica!r} of {len(self.inboxes)}, which are "
                "numbered from 0",
            )
        if replica_of is not None and arrival.session is not None:
            replica_of[arrival.session] = replica
        return replica

    def _set_timer(self) -> None:
        """Have requests given out when the next falls due."""
        next_ns = self._incoming.next_ns()
        if next_ns is None or (self._timer_ns is not None and self._timer_ns <= next_ns):
            return
        self._timer_ns = next_ns
        event = Event(self._clock)
        event._ok, event._value = True, None
        assert event.callbacks is not None
        event.callbacks.append(self._fall_due)
        self._clock.schedule(event, URGENT, max(0, next_ns - self._clock.now))

    def _fall_due(self, event: Event) -> None:
        del event
        if self._timer_ns is not None and self._timer_ns <= self._clock.now:
            self._timer_ns = None
        if self._stop.reason is None:
            self.give_out()


class Inbox:
    """What has been given to one replica and not taken by its scheduler: `simulator.serving.intake.Requests` of it."""

    def __init__(self, front: Front, clock: Clock) -> None:
        self.waiting: deque[Served] = deque()
        self.num_given = 0
        self._front = front
        self._clock = clock

    def given(self, request: Served) -> None:
        """Get a request."""
        self.waiting.append(request)
        self.num_given += 1

    def next_ns(self) -> int | None:
        """Return when the next request has arrived; None if there is none."""
        self._front.give_out()
        return self.waiting[0].arrival.arrival_ns if self.waiting else None

    def take(self) -> Served:
        """Take the next request."""
        return self.waiting.popleft()

    def ended(self, request: Served, now_ns: int) -> None:
        """Hear that a request has been answered, or refused."""
        self._front.ended(request, now_ns)

    def wait(self) -> Wait | None:
        """Wait for the next arrival, whose it may be, or for as long as others may be answered."""
        next_ns = self._front.next_ns()
        if next_ns is None and not self._front.may_get_more():
            return None
        return Wait(until_ns=next_ns)

    def waited(self, wait: Wait) -> int:
        """Return the time: a request may have come before."""
        del wait
        return self._clock.now
