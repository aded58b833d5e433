"""The less loaded of a few."""

from simulator.request_router.least_loaded import load_of
from simulator.request_router.protocol import Asked, Replicas


class Choices:
    """Send each request to the least loaded of `count` replicas drawn at random, ties to the lowest.

    `by` is as for `least_loaded`. The scenario's seed counts. Two choices get most of what knowing all loads would.

    Source: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE Transactions on Parallel and
    Distributed Systems 12 (2001).
    """

    def __init__(self, replicas: Replicas, *, count: int = 2, by: str = "requests") -> None:
        if count < 1:
            raise ValueError(f"count is {count}; it should be 1 or more")
        self._num_replicas = replicas.num_replicas
        self._count = min(count, replicas.num_replicas)
        self._load = load_of(replicas, by)
        self._random = replicas.random()

    def choose(self, request: Asked) -> int:
        """Draw some and return the least loaded."""
        del request
        return min(sorted(self._random.sample(range(self._num_replicas), self._count)), key=self._load)
