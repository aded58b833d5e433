"""Whom the visits of a calibration use next, against the simulator's own LRU cache."""

from random import Random

import pytest

from simulator.cache import ABSENT, RESIDENT, ExpertCache, Pool
from simulator.eviction.lru import LRU
from tests.hand_made import HandView
from validation.calibrate.measure.rotation import Rotation


def lru_cache(num_experts: int, num_resident: int) -> ExpertCache:
    """Return the simulator's cache of one bank, the first experts resident, 0 used longest ago."""
    view = HandView()
    pool = Pool(num_slots=num_resident, free_slots=num_resident, eviction=LRU(view))
    cache = ExpertCache(pool_of_key=[pool] * num_experts, held=view.held)
    cache.warm(range(num_resident))
    return cache


@pytest.mark.parametrize("seed", range(30))
def test_hits_are_resident_and_misses_are_not(seed: int) -> None:
    """Whatever is asked for before: picks that differ, and as many misses as there are absent experts for.

    Those that are passed over stay absent.
    """
    random = Random(seed)
    num_experts = random.randint(2, 12)
    num_resident = random.randint(1, num_experts)
    rotation, cache = Rotation(num_experts, num_resident=num_resident), lru_cache(num_experts, num_resident)
    for _ in range(60):
        count, are_misses = random.randint(1, num_resident), random.random() < 0.5
        picked = rotation.misses(count) if are_misses else rotation.hits(count)
        missing = [key for key in picked if cache.state[key] == ABSENT]
        assert len(set(picked)) == count
        assert len(missing) == (min(count, num_experts - num_resident) if are_misses else 0)
        for key in picked:
            if key not in missing:
                cache.touch_of_key[key](key)
        cache.held.update(picked)
        for key in missing:
            assert cache.take_slot(key)
            cache.state[key] = RESIDENT
        cache.held.clear()
        passed_over = rotation.passed_over(count)
        assert len(set(passed_over)) == min(count, num_experts - num_resident)
        assert all(cache.state[key] == ABSENT for key in passed_over)


def test_all_residents_take_turns() -> None:
    """None comes again before every other has."""
    rotation = Rotation(10, num_resident=7)
    picks = [expert for _ in range(7) for expert in rotation.hits(2)]
    assert picks == [*range(7), *range(7)]


def test_all_experts_take_turns_as_misses() -> None:
    """With three residents of five, two at a time."""
    rotation = Rotation(5, num_resident=3)
    assert [rotation.misses(2) for _ in range(4)] == [[3, 4], [0, 1], [2, 3], [4, 0]]
    assert [rotation.passed_over(1) for _ in range(3)] == [[1], [2], [1]]
    assert rotation.misses(2) == [2, 1]
