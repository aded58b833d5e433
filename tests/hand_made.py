"""Stand-ins that tests write out by hand: a view of a run whose routing is a list of visits, and small traces."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.training import Training
from simulator.view import NEVER
from traces.format import Sequences, Trace, TraceMetadata, open_trace, write_trace


class Scan:
    """An oracle that looks for everything anew: `simulator.view.Oracle` over a list of visits, each a list of keys."""

    def __init__(self, visits: Sequence[Sequence[int]]) -> None:
        self.visits = visits
        self.visit = -1

    def next_visit(self, key: int) -> int:
        """Return the first visit after the current one that names `key`, or NEVER."""
        return next((at for at, keys in enumerate(self.visits) if at > self.visit and key in keys), NEVER)

    def upcoming(self, visits_ahead: int) -> Sequence[int]:
        """Return the keys of a later visit; empty past the end."""
        at = self.visit + visits_ahead
        return self.visits[at] if at < len(self.visits) else []


class HandCosts:
    """`simulator.view.Estimates` in round numbers, which a test may set."""

    def __init__(self) -> None:
        self.transfer_ns = 1000
        self.read_ns = 0
        self.layer_ns = 300
        self.num_cpu_workers = 1
        self.gpu_ns, self.cpu_ns, self.activation_token_ns = 100, 400, 10

    def fetch_ns(self, key: int) -> int:
        """The same for all."""
        del key
        return self.transfer_ns

    def expert_ns(self, num_tokens: int) -> int:
        """The same for up to 16 tokens, growing by token beyond."""
        return self.gpu_ns * max(16, num_tokens) // 16

    def cpu_expert_ns(self, num_tokens: int) -> int:
        """Growing by token."""
        return self.cpu_ns * num_tokens

    def activation_ns(self, num_tokens: int) -> int:
        """Growing by token."""
        return self.activation_token_ns * num_tokens


class HandView:
    """A `simulator.view.View` whose every answer a test sets."""

    def __init__(
        self,
        visits: Sequence[Sequence[int]] = (),
        *,
        num_layers: int = 1,
        num_experts: int = 16,
        top_k: int = 2,
        training: Training | None = None,
        shared_bank: bool = True,
    ) -> None:
        """With `shared_bank` all layers draw from one bank, so that keys are expert numbers; else each from its own."""
        self.num_layers = num_layers
        self.num_experts = num_experts
        self.num_keys = num_experts * (1 if shared_bank else num_layers)
        self.top_k = top_k
        self.costs = HandCosts()
        self.gate_weights: Sequence[Sequence[float]] | None = None
        self.tokens: Sequence[Sequence[int]] | None = None
        self.request_of_token: Sequence[int] | None = None
        self.is_prefill = False
        self.queued = 0
        self.slots_per_layer = num_experts
        self.counts: NDArray[np.int64] | None = None
        self._training = training
        self._num_randoms = 0
        self.held: set[int] = set()
        self.resident: set[int] = set()
        self.in_flight: set[int] = set()
        self.oracle = Scan(visits)
        self.lookahead_layers = 0

    def require_lookahead(self, distance: int) -> None:
        """Note how far a policy wants to look."""
        self.lookahead_layers = max(self.lookahead_layers, distance)

    def lookahead(self, distance: int) -> Sequence[Sequence[int]]:
        """Return the step's visits themselves: gates of one token that never err."""
        if self.visit < 0 or self.visit % self.num_layers + distance >= self.num_layers:
            return ()
        return [self.oracle.upcoming(distance)]

    @property
    def visit(self) -> int:
        """The current visit."""
        return self.oracle.visit

    def first_key(self, layer: int) -> int:
        """Return the key of expert 0 of a layer."""
        return 0 if self.num_keys == self.num_experts else layer * self.num_experts

    def num_queued(self) -> int:
        """Return what the test has set."""
        return self.queued

    def num_slots(self, layer: int) -> int:
        """Return what the test has set."""
        del layer
        return self.slots_per_layer

    def requests(self) -> Sequence[int]:
        """Return what the test has set, by default one request."""
        return [0] * len(self.picks()) if self.request_of_token is None else self.request_of_token

    def picks(self) -> Sequence[Sequence[int]]:
        """Return what the test has set, by default one token with the visit's keys."""
        if self.tokens is not None:
            return self.tokens
        return [self.oracle.visits[self.visit]] if 0 <= self.visit < len(self.oracle.visits) else []

    def weights(self) -> Sequence[Sequence[float]]:
        """Return what the test has set, by default weights that fall by rank and add up to 1 per token."""
        if self.gate_weights is not None:
            return self.gate_weights
        halves = [[2.0**-rank for rank in range(len(token))] for token in self.picks()]
        return [[weight / sum(token) for weight in token] for token in halves]

    def require_gate_weights(self) -> None:
        """Weights are always there."""

    @property
    def training(self) -> Training:
        """Return what the test has given."""
        if self._training is None:
            raise ValueError("learns from recorded routing, and there is none")
        return self._training

    def popularity(self) -> NDArray[np.int64]:
        """Return what the test has set, by default the training's counts, else ones."""
        if self.counts is not None:
            return self.counts
        return np.ones(self.num_keys, np.int64) if self._training is None else self._training.popularity()

    def random(self) -> random.Random:
        """Return a new source of random numbers, the same in each run."""
        self._num_randoms += 1
        return random.Random(f"hand:{self._num_randoms}")

    def is_resident(self, key: int) -> bool:
        """Tell what the test has set."""
        return key in self.resident

    def is_in_flight(self, key: int) -> bool:
        """Tell what the test has set."""
        return key in self.in_flight

    def is_in_host(self, key: int) -> bool:
        """Host memory has all."""
        del key
        return True


def make_trace(
    path: Path,
    sequences: Sequence[Sequence[Sequence[Sequence[int]]]],
    *,
    num_experts: int,
    prompt_tokens: Iterable[int] | None = None,
    context_start: Iterable[int] | None = None,
    banks: tuple[int, ...] = (),
) -> Trace:
    """Write and open a trace of `sequences`, each [tokens][layers][top_k] of expert ids."""
    lengths = [len(tokens) for tokens in sequences]
    write_trace(
        path,
        Sequences(
            expert_ids=np.array([token for tokens in sequences for token in tokens], np.uint16),
            sequence_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            prompt_tokens=np.array([0] * len(lengths) if prompt_tokens is None else list(prompt_tokens), np.int32),
            context_start=None if context_start is None else np.array(list(context_start), np.int32),
        ),
        TraceMetadata(model="hand-made", num_experts=num_experts, banks=banks),
        overwrite=True,
    )
    return open_trace(path)


Routing = list[list[list[list[int]]]]
"""Expert ids of sequences: [sequences][tokens][layers][top_k]."""


def random_routing(seed: int, *, lengths: Sequence[int], num_layers: int, num_experts: int, top_k: int) -> Routing:
    """Draw sequences of distinct experts per layer, all orders alike."""
    rng = np.random.default_rng(seed)
    return [
        [[rng.permutation(num_experts)[:top_k].tolist() for _ in range(num_layers)] for _ in range(length)]
        for length in lengths
    ]
