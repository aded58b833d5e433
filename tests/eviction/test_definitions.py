"""Each policy against its definition, written out as a search over the whole history of accesses."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.eviction import EVICTION
from simulator.eviction.lfu import AgedLFU
from simulator.eviction.protocol import ObservesGates
from tests.hand_made import HandView, Scan

NUM_KEYS = 7


class History:
    """What has happened to the keys that a pool holds: all that a definition needs.

    `inserted_at`, `touched_at` (the insertion counts) and `accesses` (since the insertion, which counts one) by key;
    `visits`, accesses since the start; `age`, the highest priority of a victim of aged LFU, and `priority`, as of each key's
    last access.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.now = 0
        self.inserted_at: dict[int, int] = {}
        self.touched_at: dict[int, int] = {}
        self.accesses: dict[int, int] = {}
        self.visits: dict[int, int] = {}
        self.priority: dict[int, int] = {}
        self.age = 0

    def access(self, key: int) -> None:
        """Note an access."""
        self.now += 1
        self.inserted_at.setdefault(key, self.now)
        self.touched_at[key] = self.now
        self.accesses[key] = self.accesses.get(key, 0) + 1
        self.visits[key] = self.visits.get(key, 0) + 1
        self.priority[key] = self.accesses[key] + self.age

    def evict(self, key: int) -> None:
        """Note an eviction."""
        self.age = max(self.age, self.priority[key])
        for known in (self.inserted_at, self.touched_at, self.accesses, self.priority):
            del known[key]


Order = Callable[[History, int], tuple[int, ...]]
"""The key with the smallest value goes first."""

DEFINITIONS: dict[str, Order] = {
    "lru": lambda history, key: (history.touched_at[key],),
    "fifo": lambda history, key: (history.inserted_at[key],),
    "lfu": lambda history, key: (history.accesses[key], history.touched_at[key]),
    "lfu_aged": lambda history, key: (history.priority[key], history.touched_at[key]),
    "belady": lambda history, key: (-history.scan.next_visit(key), key),
    "belady_bypass": lambda history, key: (-history.scan.next_visit(key), key),
    "release": lambda history, key: (history.inserted_at[key],),
    "moe_infinity_code": lambda history, key: (history.visits[key], key),
    "least_stale": lambda history, key: (history.touched_at[key],),  # of one layer
    "lru_two_tier": lambda history, key: (history.touched_at[key],),  # where nothing lies ahead
    "predicted_unused_first": lambda history, key: (history.touched_at[key],),  # where nothing is predicted
}

ELSEWHERE = {
    "clock": "test_classical",
    "sieve": "test_classical",
    "s3fifo": "test_classical",
    "arc": "test_classical",
    "lfru": "test_classical",
    "mrs": "test_several_layers",
    "activation_aware": "test_several_layers",
    "hobbit": "test_several_layers",
    "finemoe": "test_several_layers",
    "edgemoe": "test_several_layers",
    "mark0": "test_marking",
    "mark_and_predict": "test_marking",
}
"""Where the other policies are held to their definitions: these need ghosts, weights, layers, chance or training."""


def test_every_policy_has_a_definition() -> None:
    """A policy that is added brings a definition of its own, or says here where it is tested."""
    assert {*DEFINITIONS, *ELSEWHERE} == set(EVICTION)


@pytest.mark.parametrize("name", DEFINITIONS)
@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    visits=st.lists(st.lists(st.integers(0, NUM_KEYS - 1), min_size=1, max_size=3, unique=True), max_size=50),
    num_slots=st.integers(3, 6),
    extra=st.lists(st.integers(0, NUM_KEYS - 1), max_size=50),
)
def test_follows_its_definition(name: str, visits: list[list[int]], num_slots: int, extra: list[int]) -> None:
    """Over whole layer visits, whose experts are held together, the policy evicts what its definition says.

    `extra` holds one more key at each visit, as a prefetch in flight would.
    """
    view = HandView(visits)
    policy = EVICTION[name](view)
    history = History(view.oracle)
    keys = history.inserted_at
    for visit, wanted in enumerate(visits):
        view.oracle.visit = visit
        view.held = {*wanted, *extra[visit : visit + 1]}
        if isinstance(policy, ObservesGates):
            policy.at_gate()
        missing = [key for key in wanted if key not in keys]
        for key in wanted:
            if key in keys:
                policy.touch(key)
                history.access(key)
        for key in missing:
            if len(keys) == num_slots:
                candidates = [other for other in keys if other not in view.held]
                expected = min(candidates, key=lambda other: DEFINITIONS[name](history, other), default=None)
                assert policy.victim() == expected
                if expected is None:
                    continue
                policy.remove(expected)
                history.evict(expected)
            policy.insert(key)
            history.access(key)


def test_lfu_ties_go_to_the_least_recently_touched() -> None:
    """Keys 1 and 2 have two accesses each; 1 was touched last, so 2 goes."""
    policy = EVICTION["lfu"](HandView())
    policy.insert(1)
    policy.insert(2)
    policy.touch(2)
    policy.touch(1)
    assert policy.victim() == 2


def test_lfu_forgets_what_it_evicted() -> None:
    """A key that comes back has one access again, however many it had before."""
    policy = EVICTION["lfu"](HandView())
    policy.insert(1)
    for _ in range(9):
        policy.touch(1)
    policy.remove(1)
    policy.insert(2)
    policy.touch(2)
    policy.insert(1)
    assert policy.victim() == 1


def test_belady_evicts_what_is_never_used_again_and_of_those_the_lowest() -> None:
    """3 is used next, 1 later; 5 and 4 never again: 4 goes, then 5, then 1."""
    view = HandView([[3], [1]])
    policy = EVICTION["belady"](view)
    for key in (1, 3, 4, 5):
        policy.insert(key)
    order = []
    while (victim := policy.victim()) is not None:
        policy.remove(victim)
        order.append(victim)
    assert order == [4, 5, 1, 3]


def test_ageing_lets_old_popularity_fade() -> None:
    """Key 9 was used ten times and never since. LFU keeps it for good; with ageing, two new keys in turn drive it out."""
    survivors = {}
    for name in ("lfu", "lfu_aged"):
        policy = EVICTION[name](HandView())
        policy.insert(9)
        for _ in range(9):
            policy.touch(9)
        held = {9}
        for round_ in range(40):
            key = round_ % 2
            if len(held) == 2:
                victim = policy.victim()
                assert victim is not None
                policy.remove(victim)
                held.remove(victim)
            policy.insert(key)
            held.add(key)
        survivors[name] = 9 in held
    assert survivors == {"lfu": True, "lfu_aged": False}


def test_aged_priorities_by_hand() -> None:
    """A new key enters at age + 1, a touched one at accesses + age; the age is the last victim's priority."""
    policy = AgedLFU(HandView())
    policy.insert(1)
    policy.insert(2)
    policy.touch(1)  # 1 has priority 2, 2 has 1
    assert policy.victim() == 2
    policy.remove(2)  # age 1
    policy.insert(3)  # 1 + age = 2, and touched after 1
    assert policy.victim() == 1
    policy.touch(1)  # 3 accesses + age 1 = 4
    assert policy.victim() == 3
