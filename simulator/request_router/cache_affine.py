"""Where the experts are that a prompt will ask for."""

from simulator.request_router.bounded_load import BoundedLoad
from simulator.request_router.protocol import Asked, Replicas, num_requests


class CacheAffine:
    """Send each request where most of what its prompt will pick is resident, unless that replica is overloaded.

    Of the picks of the prompt's tokens in all layers, those count whose experts a replica has in GPU memory; one whose cache
    is still empty comes first, as it would never fill else. A replica may have `load_factor` times the mean number of
    requests; ties go to the least loaded, then to the lowest.

    Source: the bound is that of consistent hashing with bounded loads, arXiv 1608.01350; what it bounds is ours. Routers of
    serving engines send a request likewise where its prefix is in the KV cache: SGLang, arXiv 2312.07104.

    Limits: the router knows the recorded picks of the prompt exactly and at once, for which it would have to run the prompt
    through the model, or to predict them; what answers will pick it does not know. Its view of each cache is never stale.
    """

    def __init__(self, replicas: Replicas, *, load_factor: float = 1.25) -> None:
        self._replicas = replicas
        self._bound = BoundedLoad(load_factor)
        replicas.require_prompt_picks()

    def choose(self, request: Asked) -> int:
        """Return the replica with room that covers most."""
        del request
        loads, picks = num_requests(self._replicas), self._replicas.prompt_picks()
        with_room = self._bound.with_room(loads)
        residents = {replica: self._replicas.resident(replica) for replica in with_room}
        empty = [replica for replica in with_room if not residents[replica].any()]
        covered = {replica: int(picks[residents[replica]].sum()) for replica in with_room}
        return min(empty or with_room, key=lambda replica: (-covered[replica], loads[replica]))
