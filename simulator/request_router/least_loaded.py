"""The replica that has least to do."""

from collections.abc import Callable, Mapping

from simulator.request_router.protocol import Asked, Replicas


class LeastLoaded:
    """Send each request to the replica with the least load `by` requests, prompt_tokens or tokens, ties to the lowest.

    Requests wait or run; prompt tokens have yet to be run; tokens are those of prompts and answers that have yet to go
    through the model, for which the lengths of answers have to be known.

    Source: by requests it is join the shortest queue: Winston, "Optimality of the shortest line discipline", Journal of
    Applied Probability 14 (1977).
    """

    def __init__(self, replicas: Replicas, *, by: str = "requests") -> None:
        self._replicas = replicas
        self._load = load_of(replicas, by)

    def choose(self, request: Asked) -> int:
        """Return the least loaded."""
        del request
        return min(range(self._replicas.num_replicas), key=self._load)


def load_of(replicas: Replicas, by: str) -> Callable[[int], int]:
    """Return what measures a replica's load. Raises ValueError for a measure that is not known."""
    loads: Mapping[str, Callable[[int], int]] = {
        "requests": lambda replica: replicas.num_waiting(replica) + replicas.num_running(replica),
        "prompt_tokens": replicas.prompt_tokens_left,
        "tokens": replicas.tokens_left,
    }
    if by not in loads:
        raise ValueError(f"by is {by!r}; it should be one of {', '.join(loads)}")
    if by == "tokens":
        replicas.require_lengths()
    return loads[by]
