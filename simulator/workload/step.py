"""One forward pass of the batch: which tokens it holds and which experts they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from simulator.workload.request import Request

TokenRouting = Sequence[Sequence[int]]
"""Expert keys of one token, by routing round and rank: [L][K]."""

TokenWeights = Sequence[Sequence[float]]
"""Gate weights of one token, by routing round and rank: [L][K]."""

TokenLookahead = Sequence[Sequence[Sequence[int]]]
"""Keys that gates further on would pick for one token, by routing round, distance - 1 and rank: [L][D][K]."""


class Visits(Protocol):
    """What a step's tokens ask for, worked out for all layers at once where the step is made."""

    def of_layer(self, layer: int) -> tuple[Sequence[int], Sequence[int] | None]:
        """Return what `distinct_experts` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCopies:
    """KV cache that moves before a step's first layer: to the host, and back from there. Bytes."""

    out_bytes: int = 0
    in_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """In the place of a step: there is nothing to compute until a time, or, if that is None, until somebody says so."""

    until_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of n tokens.

    `tokens` [n] is the routing of each, in batch order; `contexts` [n] the tokens that each attends to, itself included.
    `weights` and `lookahead` [n], where they were asked for, are the gate weights of each token, and what gates further on
    would pick for it.
    `requests` names all that take part, `emits` those that get an output token when the step ends. `joins` are the
    requests that took a place in the batch just before the step (a prefill may keep them waiting), `ends` those whose
    last step it is.

    A step may hold tokens that decode and chunks of prompts: those decode first, then the chunks follow, one after the
    other. It is no prefill then; `mixed_prompt_tokens` counts the tokens of its chunks. A step of several prompts, or of
    both kinds, says in `request_of_token` [n] whose each token is. `visits`, where given, says what `tokens` says.
    """

    is_prefill: bool
    tokens: Sequence[TokenRouting]
    contexts: Sequence[int]
    requests: Sequence[Request]
    emits: Sequence[Request]
    joins: Sequence[Request] = ()
    ends: Sequence[Request] = ()
    weights: Sequence[TokenWeights] | None = None
    lookahead: Sequence[TokenLookahead] | None = None
    visits: Visits | None = None
    copies: KvCopies | None = None
    mixed_prompt_tokens: int = 0
    request_of_token: Sequence[int] | None = None


def distinct_experts(tokens: Sequence[TokenRouting], layer: int) -> tuple[Sequence[int], Sequence[int] | None]:
    """Return the distinct keys of a layer in order of first appearance, and the tokens routed to each.

    The counts are None where each is 1, as for a step of one token.
    """
    if len(tokens) == 1:
        return tokens[0][layer], None
    return distinct([token[layer] for token in tokens])


def distinct(picks: Sequence[Sequence[int]]) -> tuple[Sequence[int], Sequence[int]]:
    """Return the distinct keys of some picks in order of first appearance, and how often each is there."""
    counts: dict[int, int] = {}
    for key in chain.from_iterable(picks):
        counts[key] = counts.get(key, 0) + 1
    return list(counts), list(counts.values())
