"""The requests that decode: all of them take part in each step that decodes.

So how far each is follows from how many such steps there have been, and whose turn it is to end, or to need another page,
is known beforehand: a step costs the same however many requests decode.
"""

from collections import defaultdict
from collections.abc import Sequence

from simulator.serving.served import Served


class Cohort:
    """Requests in the order in which they began to decode. `num_steps` counts the steps so far."""

    def __init__(self) -> None:
        self.requests: list[Served] = []
        self.num_steps = 0
        self._ends: defaultdict[int, list[Served]] = defaultdict(list)
        self._grow: defaultdict[int, list[Served]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self.requests)

    def join(self, request: Served) -> None:
        """Let a request decode from the next step on."""
        request.offset = request.position - self.num_steps
        self.requests.append(request)
        self._ends[request.total_tokens - request.offset].append(request)
        self._grow[request.kv_tokens - request.offset].append(request)

    def leave(self, request: Served) -> None:
        """Take a request out; its `position` is up to date then."""
        request.position = request.offset + self.num_steps
        self.requests.remove(request)
        self._forget(self._ends, request.total_tokens - request.offset, request)
        self._forget(self._grow, request.kv_tokens - request.offset, request)

    def growing(self) -> list[Served]:
        """Return the requests that need another page for the next step, by their order in the queue."""
        return sorted(self._grow.get(self.num_steps, ()), key=lambda request: request.order)

    def grow(self, request: Served, kv_tokens: int) -> None:
        """Note that a request has pages for so many tokens now."""
        self._forget(self._grow, request.kv_tokens - request.offset, request)
        request.kv_tokens = kv_tokens
        self._grow[kv_tokens - request.offset].append(request)

    def step(self) -> Sequence[Served]:
        """Let each have decoded a token; return those that have ended, which `leave` has yet to take out."""
        self.num_steps += 1
        return list(self._ends.get(self.num_steps, ()))

    def steps_to_change(self) -> int:
        """Return how many steps there are, 1 or more, after none of which but the last a request ends or needs a page."""
        following = [step for step in (*self._ends, *self._grow) if step > self.num_steps]
        return min(following) - self.num_steps

    def _forget(self, calendar: defaultdict[int, list[Served]], step: int, request: Served) -> None:
        entries = calendar[step]
        entries.remove(request)
        if not entries:
            del calendar[step]
