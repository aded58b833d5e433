"""One pool under single accesses: one expert at a time, each a layer visit of its own, and nothing held.

This is the classical cache of the literature, to which other simulators and the theorems on replacement apply.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from simulator.eviction import EVICTION, Eviction
from tests.hand_made import HandView


def residents(make: Callable[..., Eviction], stream: Sequence[int], num_slots: int) -> Iterator[tuple[bool, set[int]]]:
    """Run a policy; for each access yield whether it hit, and what is resident after it."""
    view = HandView([[key] for key in stream])
    policy = make(view)
    held: set[int] = set()
    for visit, key in enumerate(stream):
        view.oracle.visit = visit
        if key in held:
            policy.touch(key)
            yield True, held
            continue
        if len(held) == num_slots:
            victim = policy.victim()
            assert victim is not None
            policy.remove(victim)
            held.remove(victim)
        policy.insert(key)
        held.add(key)
        yield False, held


def num_hits(name: str, stream: Sequence[int], num_slots: int) -> int:
    """Count the hits of a shipped policy."""
    return sum(hit for hit, _ in residents(EVICTION[name], stream, num_slots))


def skewed_stream(seed: int, length: int, num_keys: int) -> list[int]:
    """Draw keys of which a few are popular, as experts are."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, num_keys + 1)
    return [int(key) for key in rng.choice(rng.permutation(num_keys), size=length, p=weights / weights.sum())]
