"""Services of several machines of one layer, whose steps take as long as a test says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.replicas.front import Front
from simulator.replicas.group import run_together
from simulator.replicas.view import ReplicasView, Seen
from simulator.request_router import REQUEST_ROUTER
from simulator.resources.clock import Clock
from simulator.serving.feed import Feed
from simulator.serving.limits import Limits
from simulator.serving.served import Served
from simulator.serving.stop import Bounds, Stop
from simulator.workload.arrivals import Arrival
from simulator.workload.routing import Routing
from tests.serving.harness import NUM_EXPERTS, Outcome, intake_of, make_machine
from traces.format import Trace


@dataclass(kw_only=True)
class Outcomes:
    """What came out of each replica, and what the front has given out."""

    each: Sequence[Outcome]
    front: Front
    num_arrived: int
    stop: Stop

    @property
    def requests(self) -> list[Served]:
        """All requests that replicas have taken, in the order of arrival."""
        return sorted((one for out in self.each for one in out.record.requests), key=lambda one: one.index)


def serve_replicas(
    requests: Iterable[Arrival] | Feed,
    trace: Trace,
    *,
    count: int,
    router: str = "round_robin",
    parameters: Mapping[str, Any] | None = None,
    sticky: bool = False,
    limits: Limits,
    bounds: Bounds | None = None,
    **machine: Any,  # noqa: ANN401
) -> Outcomes:
    """Run a service of `count` machines to its end; `machine` is as for `tests.serving.harness.make_machine`."""
    clock, stop = Clock(), Stop(bounds or Bounds())
    intake = intake_of(requests, trace, limits)
    front = Front(count, clock=clock, incoming=intake, stop=stop, sticky_sessions=sticky)
    each = [
        make_machine(inbox, trace, limits=limits, stop=stop, clock=clock, followed=front.followed, **machine)
        for inbox in front.inboxes
    ]
    view = ReplicasView(
        [Seen(scheduler=out.scheduler, cache=out.cache) for out in each],
        front=front,
        routing=Routing(trace),
        num_keys=NUM_EXPERTS,
        seed=7,
    )
    front.open(REQUEST_ROUTER[router](view, **parameters or {}), [out.engine.wake for out in each])
    run_together(clock, [(out.engine, out.scheduler) for out in each])
    return Outcomes(each=each, front=front, num_arrived=intake.num_taken, stop=stop)
