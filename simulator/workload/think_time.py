"""A closed loop of users: each sends a request, waits for the answer, thinks, and sends the next."""

from collections.abc import Sequence
from random import Random
from typing import Literal, get_args

from simulator.workload.arrivals import Arrival
from simulator.workload.generators.protocol import NS_PER_S
from simulator.workload.labels import Labels
from simulator.workload.lengths.protocol import Lengths
from simulator.workload.randomness import stream

Thinking = Literal["exponential", "fixed"]
_NO_LABELS = Labels()


class ThinkTime:
    """`users` senders, numbered by `Arrival.session`, with at most one request each at any time.

    A user thinks for `think_s`, exactly (`fixed`) or as a mean (`exponential`), between an answer and the next request, and
    before the first one too if `think_first`; otherwise all begin at once. Each user draws from a stream of its own, so that
    its n-th request is the same however fast others are served. `max_requests` bounds the requests of all users together;
    none is sent at or after `stop_ns`.

    Source: the interactive system of Denning and Buzen, "The operational analysis of queueing network models", ACM Computing
    Surveys 10 (1978).
    Limits: users don't give up, and a request does not contain the answers before it.
    """

    def __init__(
        self,
        lengths: Lengths,
        *,
        users: int,
        think_s: float = 0.0,
        thinking: Thinking = "exponential",
        think_first: bool = False,
        max_requests: int | None = None,
        stop_ns: int | None = None,
        labels: Labels = _NO_LABELS,
    ) -> None:
        if not 1 <= users <= 1_000_000:
            raise ValueError(f"users is {users}; it should be 1 to 1,000,000")
        if not 0 <= think_s < 1e9:
            raise ValueError(f"think_s is {think_s:g}; it should be 0 or more, and below 1e9")
        if thinking not in get_args(Thinking):
            raise ValueError(f"thinking is {thinking!r}; it should be one of {', '.join(get_args(Thinking))}")
        if max_requests is not None and max_requests < 1:
            raise ValueError(f"max_requests is {max_requests}; it should be 1 or more")
        self._lengths, self._labels = lengths, labels
        self._users, self._think_ns = users, think_s * NS_PER_S
        self._fixed, self._think_first = thinking == "fixed", think_first
        self._max_requests, self._stop_ns = max_requests, stop_ns
        self._random: list[Random] = []
        self._num_sent = 0

    def first(self, seed: int) -> Sequence[Arrival]:
        """Return each user's first request, in order of time."""
        self._random = [stream(seed, "user", user) for user in range(self._users)]
        self._num_sent = 0
        begins = [(self._thought_ns(user) if self._think_first else 0, user) for user in range(self._users)]
        sent = [self._request(user, begin_ns) for begin_ns, user in sorted(begins)]
        return [arrival for arrival in sent if arrival is not None]

    def after(self, finished: Arrival, now_ns: int) -> Arrival | None:
        """Return what the user asks next; None if the bounds are reached.

        Raises ValueError for a request that no user of this run has sent.
        """
        user = finished.session
        if user is None or not 0 <= user < len(self._random):
            raise ValueError(
                f"session is {user}; it should be 0 to {len(self._random) - 1}, as in a request of this run"
            )
        return self._request(user, now_ns + self._thought_ns(user))

    def _thought_ns(self, user: int) -> int:
        thought = 1.0 if self._fixed else self._random[user].expovariate(1.0)
        return round(thought * self._think_ns)

    def _request(self, user: int, arrival_ns: int) -> Arrival | None:
        if self._num_sent == self._max_requests or (self._stop_ns is not None and arrival_ns >= self._stop_ns):
            return None
        self._num_sent += 1
        random = self._random[user]
        prompt_tokens, output_tokens = self._lengths.draw(random)
        class_name, category = self._labels.draw(random)
        return Arrival(
            arrival_ns=arrival_ns,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            class_name=class_name or "default",
            category=category,
            session=user,
        )
