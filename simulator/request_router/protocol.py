"""The contract of a request router: which replica of a service serves a request. Not to be confused with a model's gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request says of itself when it arrives. How long its answer will be is not known then."""

    prompt_tokens: int
    class_name: str = "default"
    category: str | None = None
    session: int | None = None


class Replicas(Protocol):
    """What a router sees of the replicas at the instant of an arrival, before anything else that happens at it.

    A replica's requests are as they were when its latest step ended, and those given to it since wait; its experts are as
    they are now.
    """

    @property
    def num_replicas(self) -> int:
        """How many there are; they are numbered from 0."""

    def num_waiting(self, replica: int) -> int:
        """Count the requests in the queue, preempted ones included."""

    def num_running(self, replica: int) -> int:
        """Count the requests that have a place in the batch."""

    def prompt_tokens_left(self, replica: int) -> int:
        """Count the tokens of prompts that have yet to be run."""

    def tokens_left(self, replica: int) -> int:
        """Count the tokens, prompts and answers, that have yet to go through the model. Needs `require_lengths`."""

    def require_lengths(self) -> None:
        """Say, as the router is built, that it will ask how long answers will be; the result says so."""

    def resident(self, replica: int) -> NDArray[np.bool_]:
        """Tell which experts are in GPU memory, [num_keys]."""

    def prompt_picks(self) -> NDArray[np.int64]:
        """Count the tokens of the arriving prompt that each expert will get, [num_keys]. Needs `require_prompt_picks`."""

    def require_prompt_picks(self) -> None:
        """Say, as the router is built, that it will ask which experts a prompt picks; the result says so."""

    def random(self) -> Random:
        """Return a new source of random numbers; it depends on the scenario's seed."""


class RequestRouter(Protocol):
    """Choose a replica for each request as it arrives. Built as `Router(replicas, **parameters)`.

    Choices are final: a request is served where it was sent. Ties go to the lowest replica.
    """

    def choose(self, request: Asked) -> int:
        """Return the number of a replica."""


def num_requests(replicas: Replicas) -> Sequence[int]:
    """Return how many requests each replica has, waiting or running."""
    return [replicas.num_waiting(at) + replicas.num_running(at) for at in range(replicas.num_replicas)]
