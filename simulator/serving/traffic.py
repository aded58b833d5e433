"""What comes to a service, however many machines serve it: its requests, what they are made of, and when the run ends."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from simulator.inputs import Inputs
from simulator.scenario import Scenario
from simulator.serving.choice import SchedulerChoice, StopChoice, bounds_of
from simulator.serving.feed import ClosedFeed, OpenFeed
from simulator.serving.intake import Intake
from simulator.serving.served import Served
from simulator.serving.stop import Stop
from simulator.workload.choice import build_workload, read_choice
from simulator.workload.drawing import Drawing, Piece, token_ranges
from simulator.workload.routing import Routing, Rows


class Traffic:
    """The requests of a scenario's workload, as `intake`; `routing` is that of the trace that they are drawn from."""

    def __init__(self, scenario: Scenario, inputs: Inputs, source: str) -> None:
        """Make it ready. Raises InputError, TraceError."""
        assert scenario.workload is not None
        choice = scenario.scheduler or SchedulerChoice()
        self.stop = Stop(bounds_of(scenario.stop or StopChoice()))
        self._workload = build_workload(read_choice(scenario.workload, f"{source}: workload"), f"{source}: workload")
        self._trace = inputs.trace
        self._drawing = Drawing(
            inputs.trace, scenario.seed, sequences=inputs.loop.sequences, by_session=self._workload.is_closed
        )
        self.routing = Routing(inputs.trace)
        workload, seed = self._workload, scenario.seed
        feed = ClosedFeed(workload.closed, seed) if workload.is_closed else OpenFeed(workload.open, seed)
        self.intake = Intake(feed, draw=self._drawn, priorities=choice.priorities)

    def notes(self) -> list[str]:
        """Say what workload and drawing have assumed or left out."""
        return [*self._workload.notes(), *self._drawing.notes()]

    def _drawn(self, request: Served) -> Callable[[], Rows]:
        """Draw what a request is made of, and return what makes the tokens of the trace of it."""
        drawn = self._drawing.draw(request.arrival)
        pieces = (*drawn.prompt, *drawn.decode)
        request.sequence = pieces[0].sequence
        return partial(self._rows, pieces)

    def _rows(self, pieces: Sequence[Piece]) -> Rows:
        return np.concatenate([np.arange(part.start, part.stop) for part in token_ranges(self._trace, pieces)])
