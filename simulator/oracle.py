"""The routing to come, for policies that are oracles."""

from array import array
from collections.abc import Iterable, Sequence

from simulator.view import NEVER
from simulator.workload.step import Step, distinct_experts


class RecordedFuture:
    """The visits of a whole run, known beforehand from its steps: `simulator.view.Oracle`.

    Holds 12 bytes per (visit, expert), so its memory grows with the run. `advance` is the executor's.
    """

    def __init__(self, steps: Iterable[Step], *, num_layers: int, num_keys: int) -> None:
        self._keys = array("i")
        self._visit_start = array("q", [0])
        for step in steps:
            for layer in range(num_layers):
                self._keys.extend(distinct_experts(step.tokens, layer)[0])
                self._visit_start.append(len(self._keys))
        self._following = array("q", bytes(8 * len(self._keys)))
        self._next_visit = [NEVER] * num_keys
        for visit in range(len(self._visit_start) - 2, -1, -1):
            for at in range(self._visit_start[visit], self._visit_start[visit + 1]):
                key = self._keys[at]
                self._following[at] = self._next_visit[key]
                self._next_visit[key] = visit
        self._visit = -1

    def advance(self) -> None:
        """Go to the next visit."""
        self._visit += 1
        start, stop = self._visit_start[self._visit], self._visit_start[self._visit + 1]
        for key, following in zip(self._keys[start:stop], self._following[start:stop], strict=True):
            self._next_visit[key] = following

    def next_visit(self, key: int) -> int:
        """Return the first visit after the current one that uses `key`, or NEVER; for a low-precision copy, its expert."""
        return self._next_visit[key % len(self._next_visit)]

    def upcoming(self, visits_ahead: int) -> Sequence[int]:
        """Return the keys of a later visit, in order of first appearance; empty past the end of the run."""
        visit = self._visit + visits_ahead
        if visit + 1 >= len(self._visit_start):
            return ()
        return self._keys[self._visit_start[visit] : self._visit_start[visit + 1]]
