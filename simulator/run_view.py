"""The `simulator.view.View` of a run, simulated or real: what its executor keeps up to date and its policies read."""

import random
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.cache import IN_FLIGHT, RESIDENT, ExpertCache
from simulator.lookahead import StatedLookahead
from simulator.oracle import RecordedFuture
from simulator.training import NoTrainingError, Training
from simulator.view import Estimates, Oracle
from simulator.workload.step import Step

Picks = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveGate:
    """What the gates of a model that runs say: for the current layer, and for layers ahead.

    `picks` [n][K] are keys, `weights` [n][K] as the model applies them; `ahead(distance)` applies a later layer's gate to
    the current state.
    """

    picks: Picks
    weights: Sequence[Sequence[float]]
    ahead: Callable[[int], Picks]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a view knows of a run from the start.

    `first_keys` [L] is the key of expert 0 of each round's bank. `recorded_lookahead` is how many layers ahead the gates'
    picks are known, recorded or live; `stated_lookahead` stands in where that is none, `stated_lookahead_by` says by whose
    word. `popularity` counts tokens per key
    of the run's own sequences. `training` raises ValueError where there is none.
    """

    first_keys: Sequence[int]
    num_experts: int
    num_keys: int
    top_k: int
    has_gate_weights: bool
    recorded_lookahead: int
    stated_lookahead: StatedLookahead | None
    stated_lookahead_by: Sequence[str]
    make_future: Callable[[], RecordedFuture]
    make_training: Callable[[], Training] | None
    own_popularity: Callable[[], NDArray[np.int64]]
    estimates: "Callable[[RunView], Estimates]"
    seed: int


class RunView:
    """A view made before the policies, which are built with it.

    The executor sets `step` before each step, to None where nobody knows its tokens, and before each gate, where a model
    picks for itself, `live`; its dispatch sets the rest. It has `applies_ahead` called, if it has set it, once per visit and
    distance of `lookahead`: there a gate is applied to a state that is not its own, which takes time. `is_past_gate` is
    false from a step's start to its first gate: what its tokens will pick is not known then.
    """

    def __init__(self, facts: RunFacts) -> None:
        self.num_layers = len(facts.first_keys)
        self.num_experts = facts.num_experts
        self.num_keys = facts.num_keys
        self.top_k = facts.top_k
        self.visit = -1
        self.held_keys: set[int] = set()
        self.cache: ExpertCache | None = None
        self.host: ExpertCache | None = None  # where host memory does not hold all experts
        self.step: Step | None = None
        self.is_past_gate = False
        self.live: LiveGate | None = None
        self.applies_ahead: Callable[[int], object] | None = None
        self.num_queued: Callable[[], int] = _none_queued
        self.future: RecordedFuture | None = None
        self.lookahead_layers = 0
        self.needs_gate_weights = False
        self.uses_stated_lookahead = False
        self.uses_own_popularity = False
        self.is_lossy = False
        self._facts = facts
        self._training: Training | None = None
        self._estimates: Estimates | None = None
        self._num_randoms = 0
        self._visit_ahead = -1  # that of which `_ahead` has the picks, by distance
        self._ahead: dict[int, Picks] = {}

    def first_key(self, layer: int) -> int:
        """Return the key of expert 0 of the bank that a routing round draws from."""
        return self._facts.first_keys[layer]

    @property
    def held(self) -> AbstractSet[int]:
        """The keys that cannot be evicted now."""
        return self.held_keys

    def is_resident(self, key: int) -> bool:
        """Tell whether the expert can be computed on the GPU now."""
        return self.cache is not None and self.cache.state[key] == RESIDENT

    def is_in_flight(self, key: int) -> bool:
        """Tell whether the expert has a slot and is queued or being transferred."""
        return self.cache is not None and self.cache.state[key] == IN_FLIGHT

    def is_in_host(self, key: int) -> bool:
        """Tell whether host memory has the expert; low-precision copies are always there."""
        return self.host is None or key >= self.num_keys or self.host.state[key] == RESIDENT

    def num_slots(self, layer: int) -> int:
        """Count the slots for which the experts of a routing round compete, pinned ones included."""
        assert self.cache is not None, "asked before the cache is laid out"
        return self.cache.slots_of_key(self._facts.first_keys[layer])

    @property
    def layer(self) -> int:
        """The current routing round."""
        return self.visit % self.num_layers

    @property
    def is_prefill(self) -> bool:
        """Whether the current step is a prefill."""
        return self.step is not None and self.step.is_prefill

    def requests(self) -> Sequence[int]:
        """Return the number of the request of each token, [n]; zeros where nobody knows."""
        step = self.step
        if step is None:
            return [0] * len(self.live.picks) if self.live is not None else []
        if step.request_of_token is not None:
            return step.request_of_token
        if len(step.requests) == 1:
            return [step.requests[0].index] * len(step.tokens)
        return [request.index for request in step.requests]

    def picks(self) -> Picks:
        """Return what the current gate has picked, [n][K]."""
        if self.live is not None:
            return self.live.picks
        if self.step is None or not self.is_past_gate:
            return ()
        layer = self.layer
        return [token[layer] for token in self.step.tokens]

    def weights(self) -> Sequence[Sequence[float]]:
        """Return the gate weights of `picks`, [n][K]."""
        assert self.needs_gate_weights, "a policy that reads gate weights calls require_gate_weights as it is built"
        if self.live is not None:
            return self.live.weights
        if self.step is None or not self.is_past_gate:
            return ()
        assert self.step.weights is not None
        layer = self.layer
        return [token[layer] for token in self.step.weights]

    def require_gate_weights(self) -> None:
        """Have gate weights at hand. Raises ValueError if the trace has none."""
        if not self._facts.has_gate_weights:
            raise ValueError("needs gate weights, and the trace has none; record it with `moesim capture`")
        self.needs_gate_weights = True

    def require_lookahead(self, distance: int) -> None:
        """Have gates applied up to `distance` layers ahead. Raises ValueError if this run cannot."""
        known, stated = self._facts.recorded_lookahead, self._facts.stated_lookahead
        if distance > known and (known or stated is None):
            raise ValueError(
                f"needs the gates' picks {distance} layers ahead, and this run knows {known}; record them with "
                "`moesim capture --lookahead`"
            )
        if distance > known:
            self.uses_stated_lookahead = True
        else:
            self.lookahead_layers = max(self.lookahead_layers, distance)

    def lookahead(self, distance: int) -> Picks:
        """Return per token the keys that the gate `distance` layers on would pick; empty past the last layer."""
        if not self.is_past_gate or self.layer + distance >= self.num_layers:
            return ()
        if self._visit_ahead != self.visit:
            self._visit_ahead = self.visit
            self._ahead.clear()
        if distance not in self._ahead:
            if self.applies_ahead is not None:
                self.applies_ahead(distance)
            self._ahead[distance] = self._picks_ahead(distance)
        return self._ahead[distance]

    def _picks_ahead(self, distance: int) -> Picks:
        if self.live is not None:
            return self.live.ahead(distance)
        assert self.step is not None
        if self.uses_stated_lookahead:
            stated = self._facts.stated_lookahead
            assert stated is not None
            return stated.picks(self.step, self.visit, distance)
        assert self.step.lookahead is not None, "a policy that looks ahead calls require_lookahead as it is built"
        layer = self.layer
        return [token[layer][distance - 1] for token in self.step.lookahead]

    def assumed_of_lookahead(self) -> Sequence[str]:
        """Return what a result that rests on stated lookahead has to say; nothing for others."""
        return self._facts.stated_lookahead_by if self.uses_stated_lookahead else ()

    @property
    def oracle(self) -> Oracle:
        """The routing to come."""
        if self.future is None:
            self.future = self._facts.make_future()
        return self.future

    @property
    def training(self) -> Training:
        """Recorded routing of other sequences than the run's."""
        if self._training is None:
            if self._facts.make_training is None:
                raise NoTrainingError(
                    "learns from recorded routing, and the scenario sets none apart for it; add fit.sequences, a number "
                    "of the trace's first sequences, or fit.trace, another trace"
                )
            self._training = self._facts.make_training()
        return self._training

    def popularity(self) -> NDArray[np.int64]:
        """Return how many tokens were routed to each key."""
        if self._facts.make_training is not None:
            return self.training.popularity()
        self.uses_own_popularity = True
        return self._facts.own_popularity()

    @property
    def costs(self) -> Estimates:
        """What work costs on this machine."""
        if self._estimates is None:
            self._estimates = self._facts.estimates(self)
        return self._estimates

    def random(self) -> random.Random:
        """Return a new source of random numbers."""
        self._num_randoms += 1
        return random.Random(f"{self._facts.seed}:{self._num_randoms}")


def _none_queued() -> int:
    return 0
