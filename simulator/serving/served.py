"""A request of a service: what its sender asked for, how far it is, and what became of it."""

from collections.abc import Callable

import numpy as np

from simulator.workload.arrivals import Arrival
from simulator.workload.request import Request
from simulator.workload.routing import Rows

NO_ROWS: Rows = np.zeros(0, np.int64)


class Served(Request):
    """One arrival on its way through the scheduler. Times are engine time in ns, -1 where the event has not come.

    `total_tokens` is how many tokens it takes through the model: the last of its output tokens goes nowhere. `position`
    counts those whose keys and values are in the cache, while it does not decode (the cohort knows it then);
    `prefill_until` those that go through the model before it puts out its next token: its prompt, or, where its cache was
    given up, also what it had put out. `kv_tokens` is for how many tokens it has cache, `kv_bytes` how much that is.
    `offset` is its cohort's. `max_itl_ns` is its longest time between two output tokens, up to when it last left the cohort,
    and `itl_since_step` from which of the record's decode steps on it has yet to be asked for. `replica` is the
    machine that serves it.

    `rows` are the tokens of the trace whose routing it has, `take_rows` what makes them when it is let in. `stalls_ns` is
    what the steps that it took part in were spent on, cause by cause; `waited_ns` the time that it stood in the queue,
    `preempted_ns` of that after it had begun.
    """

    __slots__ = (
        "arrival",
        "class_name",
        "finished_ns",
        "is_refused",
        "itl_since_step",
        "kv_bytes",
        "kv_tokens",
        "max_itl_ns",
        "num_preemptions",
        "offset",
        "order",
        "position",
        "preempted_ns",
        "prefill_until",
        "queued_ns",
        "replica",
        "rows",
        "stalls_ns",
        "take_rows",
        "waited_ns",
    )

    def __init__(self, arrival: Arrival, *, index: int, priority: int) -> None:
        super().__init__(
            index=index,
            sequence=-1,
            prompt_tokens=arrival.prompt_tokens,
            total_tokens=arrival.prompt_tokens + arrival.output_tokens - 1,
        )
        self.arrival = arrival
        self.class_name = arrival.class_name
        self.order = (-priority, arrival.arrival_ns, index)
        self.position = 0
        self.prefill_until = arrival.prompt_tokens
        self.kv_tokens = 0
        self.kv_bytes = 0
        self.offset = 0
        self.replica = 0
        self.rows = NO_ROWS
        self.take_rows: Callable[[], Rows] = _none
        self.num_preemptions = 0
        self.queued_ns = arrival.arrival_ns
        self.waited_ns = 0
        self.preempted_ns = 0
        self.finished_ns = -1
        self.is_refused = False
        self.max_itl_ns = 0
        self.itl_since_step = 0
        self.stalls_ns: list[int] = []


def _none() -> Rows:
    return NO_ROWS
