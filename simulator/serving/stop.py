"""When a service that is simulated ends: when nothing is left to do, or one of the bounds is reached."""

import time
from dataclasses import dataclass

from simulator.serving.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of a run; None is no bound. Wall time is that of the simulation itself."""

    requests: int | None = None
    tokens: int | None = None
    time_ns: int | None = None
    wall_s: float | None = None


class Stop:
    """Say at the end of each step whether to go on. `reason` is why not, and `is_partial` whether that was not the plan.

    Requests and tokens are those of all records that are watched, together.

    Limits: a run that ends by wall time ends elsewhere each time.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.reason: str | None = None
        self.is_partial = False
        self._interrupted = False
        self._watched: list[Record] = []
        self._started_s = time.monotonic()

    def interrupt(self) -> None:
        """Have the run end with the step that it is in."""
        self._interrupted = True

    def watch(self, record: Record) -> None:
        """Have what is noted there count."""
        self._watched.append(record)

    def is_reached(self, now_ns: int) -> bool:
        """Tell whether the run ends now, or has ended before."""
        if self.reason is not None:
            return True
        bounds = self.bounds
        if self._interrupted:
            self.reason, self.is_partial = "interrupted", True
        elif bounds.requests is not None and self._num_finished() >= bounds.requests:
            self.reason = "requests"
        elif bounds.tokens is not None and self._num_tokens() >= bounds.tokens:
            self.reason = "tokens"
        elif bounds.time_ns is not None and now_ns >= bounds.time_ns:
            self.reason = "time"
        elif bounds.wall_s is not None and time.monotonic() - self._started_s >= bounds.wall_s:
            self.reason, self.is_partial = "wall_time", True
        return self.reason is not None

    def _num_finished(self) -> int:
        return sum(record.num_finished for record in self._watched)

    def _num_tokens(self) -> int:
        return sum(record.num_tokens for record in self._watched)
