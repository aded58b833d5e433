"""One pool under single accesses: one expert at a time, each a layer visit of its own, and nothing held.

This is the classical cache of the literature, to which other simulators and the theorems on replacement apply.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from simulator.eviction import EVICTION, Eviction
from simulator.eviction.protocol import Admits, GivesUp, ObservesGates
from simulator.training import Training
from tests.hand_made import HandView, make_trace, random_routing


@cache
def recorded_routing(num_experts: int) -> Training:
    """Return a little routing over one layer to learn from."""
    routing = random_routing(5, lengths=[9, 7], num_layers=1, num_experts=num_experts, top_k=2)
    with TemporaryDirectory() as folder:
        return Training(make_trace(Path(folder) / "trace", routing, num_experts=num_experts), [0, 1])


def residents(make: Callable[..., Eviction], stream: Sequence[int], num_slots: int) -> Iterator[tuple[bool, set[int]]]:
    """Run a policy; for each access yield whether it hit, and what is resident after it."""
    num_experts = max(32, *stream) + 1 if stream else 32
    view = HandView([[key] for key in stream], num_experts=num_experts, training=recorded_routing(num_experts))
    view.slots_per_layer = num_slots
    policy = make(view)
    held: set[int] = set()
    observes = policy if isinstance(policy, ObservesGates) else None
    admits = policy if isinstance(policy, Admits) else None
    gives_up = policy if isinstance(policy, GivesUp) else None
    for visit, key in enumerate(stream):
        view.oracle.visit = visit
        if observes is not None:
            observes.at_gate()
        hit = key in held
        if hit:
            policy.touch(key)
        elif len(held) < num_slots or admits is None or admits.admits(key):
            if len(held) == num_slots:
                victim = policy.victim()
                assert victim is not None
                policy.remove(victim)
                held.remove(victim)
            policy.insert(key)
            held.add(key)
        if gives_up is not None and key in held:
            for given_up in gives_up.gives_up([key]):
                policy.remove(given_up)
                held.remove(given_up)
        yield hit, held


def num_hits(name: str, stream: Sequence[int], num_slots: int, **parameters: str) -> int:
    """Count the hits of a shipped policy."""
    return sum(hit for hit, _ in residents(partial(EVICTION[name], **parameters), stream, num_slots))


def skewed_stream(seed: int, length: int, num_keys: int) -> list[int]:
    """Draw keys of which a few are popular, as experts are."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, num_keys + 1)
    return [int(key) for key in rng.choice(rng.permutation(num_keys), size=length, p=weights / weights.sum())]
