"""Stand-ins that tests write out by hand: a view of a run whose routing is a list of visits, and small traces."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

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


class HandView:
    """A `simulator.view.View` whose every answer a test sets."""

    def __init__(self, visits: Sequence[Sequence[int]] = (), *, num_layers: int = 1) -> None:
        self.num_layers = num_layers
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

    def is_resident(self, key: int) -> bool:
        """Tell what the test has set."""
        return key in self.resident

    def is_in_flight(self, key: int) -> bool:
        """Tell what the test has set."""
        return key in self.in_flight


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
