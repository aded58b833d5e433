"""What every eviction policy must do, whatever order it keeps. A policy added to EVICTION is tested here at once."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.eviction import EVICTION
from simulator.eviction.protocol import Admits, GivesUp, ObservesGates
from tests.eviction.single_accesses import recorded_routing
from tests.hand_made import HandView

NUM_KEYS = 8
Visits = list[list[int]]

operations = st.lists(
    st.tuples(
        st.sampled_from(["access", "access", "access", "remove", "victim", "evict", "hold", "release", "computed"]),
        st.integers(0, NUM_KEYS - 1),
    ),
    max_size=80,
)
visits = st.lists(st.lists(st.integers(0, NUM_KEYS - 1), min_size=1, max_size=3, unique=True), max_size=40)


class Played:
    """A policy under a sequence of operations, next to the plain set of keys that it should hold.

    Victims are asked for where `asks` is true; the answers are kept in `victims`.
    """

    def __init__(self, name: str, visits: Visits) -> None:
        self.view = HandView(visits, num_experts=NUM_KEYS, training=recorded_routing(NUM_KEYS))
        self.view.slots_per_layer = 3
        self.policy = EVICTION[name](self.view)
        self.keys: set[int] = set()
        self.victims: list[int | None] = []

    def play(self, sequence: Sequence[tuple[str, int]], *, times: int = 1) -> None:
        """Carry out the operations; each victim is asked for `times` times in a row."""
        for operation, key in sequence:
            if operation == "access":
                self.view.oracle.visit += 1
                if isinstance(self.policy, ObservesGates):
                    self.policy.at_gate()
                (self.policy.touch if key in self.keys else self.policy.insert)(key)
                self.keys.add(key)
            elif operation == "remove" and key in self.keys:
                self.policy.remove(key)
                self.keys.remove(key)
            elif operation in ("victim", "evict"):
                victim = [self.policy.victim() for _ in range(times)][-1]
                self.victims.append(victim)
                if operation == "evict" and victim is not None:
                    self.policy.remove(victim)
                    self.keys.remove(victim)
                elif isinstance(self.policy, Admits):
                    self.policy.admits(key)
            elif operation == "computed" and isinstance(self.policy, GivesUp) and key in self.keys:
                given_up = self.policy.gives_up([key])
                assert set(given_up) <= {key}
                for key in given_up:
                    self.policy.remove(key)
                    self.keys.remove(key)
            elif operation == "hold":
                self.view.held.add(key)
            elif operation == "release":
                self.view.held.discard(key)

    def drained(self) -> list[int]:
        """Release everything and evict until the policy names no victim."""
        self.view.held.clear()
        order: list[int] = []
        while (victim := self.policy.victim()) is not None:
            self.policy.remove(victim)
            order.append(victim)
            assert len(order) <= len(self.keys), f"names {victim} again, or a key that it does not hold"
        return order


@pytest.mark.parametrize("name", EVICTION)
@settings(derandomize=True, deadline=None, max_examples=120)
@given(sequence=operations, visits=visits)
def test_holds_exactly_what_was_inserted_and_not_removed(
    name: str, sequence: list[tuple[str, int]], visits: Visits
) -> None:
    """With nothing held back, victims are all keys that the pool holds, each once."""
    played = Played(name, visits)
    played.play(sequence)
    assert sorted(played.drained()) == sorted(played.keys)


@pytest.mark.parametrize("name", EVICTION)
@settings(derandomize=True, deadline=None, max_examples=120)
@given(sequence=operations, visits=visits, held=st.sets(st.integers(0, NUM_KEYS - 1)))
def test_a_victim_is_never_held_and_missing_only_when_all_are(
    name: str, sequence: list[tuple[str, int]], visits: Visits, held: set[int]
) -> None:
    """A victim is one of the pool's keys that is not held; there is none only if all of them are held."""
    played = Played(name, visits)
    played.play(sequence)
    played.view.held = held
    victim = played.policy.victim()
    if victim is None:
        assert played.keys <= held
    else:
        assert victim in played.keys - held


@pytest.mark.parametrize("name", EVICTION)
@settings(derandomize=True, deadline=None, max_examples=120)
@given(sequence=operations, visits=visits)
def test_choosing_a_victim_changes_nothing(name: str, sequence: list[tuple[str, int]], visits: Visits) -> None:
    """However often a victim is asked for, the same decisions follow."""
    once, often = Played(name, visits), Played(name, visits)
    once.play(sequence)
    often.play(sequence, times=3)
    assert often.victims == once.victims
    assert often.drained() == once.drained()


@pytest.mark.parametrize("name", EVICTION)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(sequence=operations, visits=visits)
def test_decides_alike_each_time(name: str, sequence: list[tuple[str, int]], visits: Visits) -> None:
    """The same events give the same victims, in the same order."""
    first, second = Played(name, visits), Played(name, visits)
    first.play(sequence)
    second.play(sequence)
    assert first.victims == second.victims
    assert first.drained() == second.drained()


@pytest.mark.parametrize("name", EVICTION)
def test_an_empty_pool_has_no_victim(name: str) -> None:
    """Where nothing is held there is nothing to evict, at first and after the last key has gone."""
    policy = EVICTION[name](HandView([[3]], training=recorded_routing(16)))
    assert policy.victim() is None
    policy.insert(3)
    policy.remove(3)
    assert policy.victim() is None


@pytest.mark.parametrize("name", EVICTION)
def test_a_key_that_comes_back_starts_afresh(name: str) -> None:
    """A key may be inserted, removed and inserted again, and is then held once."""
    played = Played(name, [[3], [3]])
    played.play([("access", 3), ("access", 3), ("remove", 3), ("access", 3)])
    assert played.drained() == [3]
