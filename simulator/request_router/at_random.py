"""Any replica."""

from simulator.request_router.protocol import Asked, Replicas


class AtRandom:
    """Send each request to a replica drawn at random, all alike likely. The scenario's seed counts."""

    def __init__(self, replicas: Replicas) -> None:
        self._num_replicas = replicas.num_replicas
        self._random = replicas.random()

    def choose(self, request: Asked) -> int:
        """Return what is drawn."""
        del request
        return self._random.randrange(self._num_replicas)
