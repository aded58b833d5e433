"""The replicas of a run: machines alike, each with its own engine, caches and scheduler, in one clock."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from simulator.engine import Engine
from simulator.inputs import Inputs
from simulator.policy import build_request_router
from simulator.prepare import Prepared, prepare
from simulator.replicas.front import Front, Inbox
from simulator.replicas.view import ReplicasView, Seen
from simulator.resources.clock import Clock
from simulator.scenario import Scenario
from simulator.serving.scheduler import Scheduler
from simulator.serving.service import Service
from simulator.serving.traffic import Traffic
from simulator.workload.randomness import derived_seed
from simulator.workload.step import Step, Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One machine of the service."""

    ready: Prepared
    service: Service
    engine: Engine
    inbox: Inbox


MakeEngine = Callable[[int, Prepared, Service, Iterator[Step | Wait], Clock], Engine]
"""Called with a replica's number and what it is made of."""


class Group:
    """Replicas behind a router, ready to run once. Policies of each draw random numbers of their own."""

    def __init__(self, scenario: Scenario, inputs: Inputs, source: str, make_engine: MakeEngine) -> None:
        """Put them together. Raises InputError, TraceError."""
        choice = scenario.replicas
        assert choice is not None
        if inputs.make_training is not None:
            inputs = replace(inputs, make_training=cache(inputs.make_training))  # read once
        self.choice = choice
        self._clock = Clock()
        prepared = [prepare(_of_replica(scenario, at), inputs, source) for at in range(choice.count)]
        self.traffic = traffic = Traffic(scenario, inputs, source)
        front = Front(
            choice.count,
            clock=self._clock,
            incoming=traffic.intake,
            stop=traffic.stop,
            sticky_sessions=choice.sessions == "sticky",
        )
        self.replicas: list[Replica] = []
        for at, (ready, inbox) in enumerate(zip(prepared, front.inboxes, strict=True)):
            service = Service(scenario, inputs, ready, traffic, source, requests=inbox)
            engine = make_engine(at, ready, service, front.followed(service.steps()), self._clock)
            service.read_from(engine)
            self.replicas.append(Replica(ready=ready, service=service, engine=engine, inbox=inbox))
        self._view = ReplicasView(
            [Seen(scheduler=one.service.scheduler, cache=one.ready.cache) for one in self.replicas],
            front=front,
            routing=traffic.routing,
            num_keys=prepared[0].view.num_keys,
            seed=scenario.seed,
        )
        front.open(
            build_request_router(choice.router, self._view, f"{source}: replicas"),
            [one.engine.wake for one in self.replicas],
        )

    def run(self) -> None:
        """Run until the last replica has ended."""
        run_together(self._clock, [(one.engine, one.service.scheduler) for one in self.replicas])

    def services(self) -> Sequence[Service]:
        """Return the replicas' services."""
        return [replica.service for replica in self.replicas]

    def notes(self) -> list[str]:
        """Say what the router knows, and what workload and drawing have assumed or left out."""
        return [*self._view.notes(), *self.traffic.notes()]


def run_together(clock: Clock, machines: Sequence[tuple[Engine, Scheduler]]) -> None:
    """Run engines that share a clock until the last has ended; the others stand still from their end to its."""
    for end in [engine.start() for engine, _ in machines]:
        if not end.processed:
            clock.run(until=end)
    for engine, scheduler in machines:
        scheduler.stood_still(clock.now)
        engine.stop()


def _of_replica(scenario: Scenario, at: int) -> Scenario:
    """Return the scenario with the seed of a replica; the first has the scenario's own."""
    return replace(scenario, seed=derived_seed(scenario.seed, "replica", at)) if at else scenario
