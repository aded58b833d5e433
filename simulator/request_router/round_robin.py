"""In turn."""

from simulator.request_router.protocol import Asked, Replicas


class RoundRobin:
    """Send each request to the replica after the one before, whatever their load."""

    def __init__(self, replicas: Replicas) -> None:
        self._num_replicas = replicas.num_replicas
        self._next = 0

    def choose(self, request: Asked) -> int:
        """Return whose turn it is."""
        del request
        chosen = self._next
        self._next = (chosen + 1) % self._num_replicas
        return chosen
