"""What arrives when: one request as its sender sees it, and the two ways in which a workload can put them out.

An open workload's requests arrive whether or not the earlier ones are served; a closed one's sender waits for an answer
before it asks again, so that its arrivals depend on the service. Neither says which experts a request picks: that is drawn
from a routing trace (simulator/workload/drawing.py).

Limits: prompts have no text and no shared prefixes; lengths are known on arrival (a scheduler that should not know
output_tokens must not look).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request: at least one token of prompt and one of output.

    `category` asks for a recorded sequence of that category (None: any). `session` numbers the sender of a closed loop, or
    the conversation that a trace names.
    """

    arrival_ns: int
    prompt_tokens: int
    output_tokens: int
    class_name: str = "default"
    category: str | None = None
    session: int | None = None


class OpenWorkload(Protocol):
    """Requests that don't wait for answers."""

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests in order of arrival_ns, lazily, perhaps without end; the same ones for the same seed."""
        ...


class ClosedWorkload(Protocol):
    """Senders that wait for an answer, perhaps think, and ask again.

    The two methods belong together: `first` begins a fresh run, and `after` goes on with it.
    """

    def first(self, seed: int) -> Iterable[Arrival]:
        """Return what arrives before any answer, in order of arrival_ns; forget any earlier run."""
        ...

    def after(self, finished: Arrival, now_ns: int) -> Arrival | None:
        """Return what the sender of a request that ended now sends next, not before now_ns; None if nothing."""
        ...
