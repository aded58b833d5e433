"""What is proved of replacement policies, where the proofs hold: equal sizes, one access at a time, nothing held."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.eviction import EVICTION
from tests.eviction.single_accesses import num_hits, residents, skewed_stream

streams = st.lists(st.integers(0, 5), min_size=1, max_size=16)


def fewest_misses(stream: tuple[int, ...], num_slots: int, *, may_bypass: bool = False) -> int:
    """Try every victim at every miss, and return the fewest misses that any choice leads to."""

    @cache
    def misses_from(at: int, held: frozenset[int]) -> int:
        if at == len(stream):
            return 0
        key = stream[at]
        if key in held:
            return misses_from(at + 1, held)
        if len(held) < num_slots:
            return 1 + misses_from(at + 1, held | {key})
        choices = [(held - {victim}) | {key} for victim in held] + [held] * may_bypass
        return 1 + min(misses_from(at + 1, chosen) for chosen in choices)

    return misses_from(0, frozenset())


@settings(derandomize=True, deadline=None, max_examples=150)
@given(stream=streams, num_slots=st.integers(1, 4))
def test_belady_is_optimal(stream: list[int], num_slots: int) -> None:
    """No choice of victims misses less than Belady's, on streams short enough to try them all."""
    assert len(stream) - num_hits("belady", stream, num_slots) == fewest_misses(tuple(stream), num_slots)


@pytest.mark.parametrize("name", sorted(set(EVICTION) - {"belady_bypass"}))
@pytest.mark.parametrize("num_slots", [1, 4, 8, 16])
def test_no_demand_policy_beats_belady(name: str, num_slots: int) -> None:
    """Belady's hits bound those of every policy that fetches on demand alone and lets each expert into the cache."""
    stream = skewed_stream(11, 1500, 32)
    assert num_hits(name, stream, num_slots) <= num_hits("belady", stream, num_slots)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(stream=streams, num_slots=st.integers(1, 4))
def test_belady_is_optimal_with_bypassing(stream: list[int], num_slots: int) -> None:
    """Where an expert need not be kept, no choice misses less than admitting what is used again before the victim."""
    misses = len(stream) - num_hits("belady_bypass", stream, num_slots)
    assert misses == fewest_misses(tuple(stream), num_slots, may_bypass=True)


def test_bypassing_helps() -> None:
    """With one slot and a key that comes back every other time, only a policy that may refuse the others has hits."""
    stream = [0, 1, 0, 2, 0, 3, 0]
    assert num_hits("belady", stream, 1) == 0
    assert num_hits("belady_bypass", stream, 1) == 3


@pytest.mark.parametrize("name", ["lru", "belady"])
@settings(derandomize=True, deadline=None, max_examples=100)
@given(stream=st.lists(st.integers(0, 9), min_size=1, max_size=60), num_slots=st.integers(1, 8))
def test_more_slots_never_hit_less(name: str, stream: list[int], num_slots: int) -> None:
    """For stack algorithms, one more slot never costs a hit."""
    assert num_hits(name, stream, num_slots) <= num_hits(name, stream, num_slots + 1)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(stream=st.lists(st.integers(0, 9), min_size=1, max_size=60), num_slots=st.integers(1, 8))
def test_lru_is_a_stack_algorithm(stream: list[int], num_slots: int) -> None:
    """What N slots hold under LRU, N + 1 slots hold as well, at every moment (inclusion)."""
    lru = EVICTION["lru"]
    smaller, larger = residents(lru, stream, num_slots), residents(lru, stream, num_slots + 1)
    for (_, few), (_, many) in zip(smaller, larger, strict=True):
        assert few <= many


def test_fifo_is_not_a_stack_algorithm() -> None:
    """Belady's anomaly: on this stream FIFO misses 9 times with three slots and 10 times with four."""
    stream = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]
    assert [len(stream) - num_hits("fifo", stream, num_slots) for num_slots in (3, 4)] == [9, 10]
