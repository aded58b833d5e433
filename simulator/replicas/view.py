"""What a router sees of the replicas: `simulator.request_router.protocol.Replicas` of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from simulator.cache import RESIDENT, ExpertCache
from simulator.replicas.front import Front
from simulator.serving.scheduler import Scheduler
from simulator.workload.randomness import stream
from simulator.workload.routing import Routing


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One replica as far as a router may look."""

    scheduler: Scheduler
    cache: ExpertCache


class ReplicasView:
    """Look at replicas; nothing can be changed."""

    def __init__(self, replicas: Sequence[Seen], *, front: Front, routing: Routing, num_keys: int, seed: int) -> None:
        self.num_replicas = len(replicas)
        self.knows_lengths = False
        self.knows_prompt_picks = False
        self._replicas = replicas
        self._front = front
        self._routing = routing
        self._num_keys = num_keys
        self._seed = seed
        self._num_randoms = 0

    def num_waiting(self, replica: int) -> int:
        """Count the requests in the queue, those included that have come since the step under way began."""
        return self._replicas[replica].scheduler.num_queued() + len(self._front.inboxes[replica].waiting)

    def num_running(self, replica: int) -> int:
        """Count the requests that have a place."""
        return self._replicas[replica].scheduler.num_running()

    def prompt_tokens_left(self, replica: int) -> int:
        """Count the tokens of prompts that have yet to be run."""
        given = self._front.inboxes[replica].waiting
        return self._replicas[replica].scheduler.prompt_tokens_left() + sum(one.prompt_tokens for one in given)

    def tokens_left(self, replica: int) -> int:
        """Count the tokens that have yet to go through the model."""
        assert self.knows_lengths, "a router that asks for the lengths of answers calls require_lengths as it is built"
        given = self._front.inboxes[replica].waiting
        return self._replicas[replica].scheduler.tokens_left() + sum(one.total_tokens for one in given)

    def require_lengths(self) -> None:
        """Note that the router knows how long answers will be."""
        self.knows_lengths = True

    def resident(self, replica: int) -> NDArray[np.bool_]:
        """Tell which experts are in GPU memory."""
        state = np.frombuffer(bytes(self._replicas[replica].cache.state[: self._num_keys]), np.uint8)
        found: NDArray[np.bool_] = state == RESIDENT
        return found

    def prompt_picks(self) -> NDArray[np.int64]:
        """Count the picks of the prompt of the request that the router is asked about."""
        assert self.knows_prompt_picks, (
            "a router that asks for a prompt's picks calls require_prompt_picks as it is built"
        )
        request = self._front.asking
        assert request is not None, "a router is asked about one request at a time"
        return self._routing.picks(request.take_rows()[: request.prompt_tokens])

    def require_prompt_picks(self) -> None:
        """Note that the router knows which experts prompts pick."""
        self.knows_prompt_picks = True

    def random(self) -> Random:
        """Return a new source of random numbers."""
        self._num_randoms += 1
        return stream(self._seed, "router", self._num_randoms)

    def notes(self) -> list[str]:
        """Say what the router knows that a real one would not, or not at once."""
        notes = []
        if self.knows_lengths and self.num_replicas > 1:
            notes.append("the router knows how long answers will be, which only an oracle does")
        if self.knows_prompt_picks and self.num_replicas > 1:
            notes.append(
                "the router knows which experts a prompt will pick, as if it had run the prompt, and every cache as it is "
                "at that instant"
            )
        return notes
