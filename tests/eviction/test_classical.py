"""Clock, SIEVE, S3-FIFO, ARC and LFRU against plain transcriptions of their definitions, one access at a time."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.eviction import EVICTION
from tests.eviction.single_accesses import residents
from tests.hand_made import HandView

streams = st.lists(st.integers(0, 11), min_size=1, max_size=120)
Residents = list[set[int]]


def clock(stream: list[int], num_slots: int) -> Residents:
    """Keep a list in the order of insertion, with a bit each."""
    queue: list[list[int]] = []
    result = []
    for key in stream:
        entry = next((entry for entry in queue if entry[0] == key), None)
        if entry is not None:
            entry[1] = 1
        else:
            while len(queue) == num_slots:
                head = queue.pop(0)
                if head[1]:
                    queue.append([head[0], 0])
            queue.append([key, 0])
        result.append({entry[0] for entry in queue})
    return result


def sieve(stream: list[int], num_slots: int) -> Residents:
    """Keep a list, the oldest first, and the hand as a place in it."""
    queue: list[list[int]] = []
    hand = 0
    result = []
    for key in stream:
        entry = next((entry for entry in queue if entry[0] == key), None)
        if entry is not None:
            entry[1] = 1
        else:
            if len(queue) == num_slots:
                while queue[hand][1]:
                    queue[hand][1] = 0
                    hand = (hand + 1) % num_slots
                del queue[hand]
                hand %= max(1, len(queue))
            queue.append([key, 0])
        result.append({entry[0] for entry in queue})
    return result


def s3fifo(stream: list[int], num_slots: int, *, fills_main_first: bool = False) -> Residents:
    """Keep two lists of [key, touches] and one of ghosts.

    With `fills_main_first`, until something has been evicted a small queue that has its share leaves new keys to the main.
    """
    small_slots = int(num_slots * 0.1)
    small: list[list[int]] = []
    main: list[list[int]] = []
    ghosts: list[int] = []
    has_evicted = False
    result = []
    for key in stream:
        entry = next((entry for entry in small + main if entry[0] == key), None)
        if entry is not None:
            entry[1] += 1
        else:
            is_ghost = key in ghosts
            if is_ghost:
                ghosts.remove(key)
            while len(small) + len(main) == num_slots:
                has_evicted = True
                if len(main) > num_slots - small_slots or not small:
                    head = main.pop(0)
                    if head[1]:
                        main.append([head[0], min(head[1], 3) - 1])
                    continue
                while small:
                    head = small.pop(0)
                    if head[1] < 2:
                        ghosts.append(head[0])
                        del ghosts[: -int(num_slots * 0.9) or len(ghosts)]
                        break
                    main.append([head[0], 0])
            full = fills_main_first and not has_evicted and len(small) >= small_slots
            (main if is_ghost or full else small).append([key, 0])
        result.append({entry[0] for entry in small + main})
    return result


def arc(stream: list[int], num_slots: int) -> Residents:
    """Follow figure 4 of the paper, case by case."""
    once: list[int] = []
    often: list[int] = []
    lost_once: list[int] = []
    lost_often: list[int] = []
    target = 0.0
    result = []

    def replace(key: int) -> None:
        if once and ((key in lost_often and len(once) == target) or len(once) > target):
            lost_once.append(once.pop(0))
        else:
            lost_often.append(often.pop(0))

    for key in stream:
        if key in once or key in often:
            (once if key in once else often).remove(key)
            often.append(key)
        elif key in lost_once:
            target = min(num_slots, target + max(1, len(lost_often) / len(lost_once)))
            replace(key)
            lost_once.remove(key)
            often.append(key)
        elif key in lost_often:
            target = max(0, target - max(1, len(lost_once) / len(lost_often)))
            replace(key)
            lost_often.remove(key)
            often.append(key)
        else:
            known = len(once) + len(often) + len(lost_once) + len(lost_often)
            if len(once) + len(lost_once) == num_slots:
                if len(once) < num_slots:
                    lost_once.pop(0)
                    replace(key)
                else:
                    once.pop(0)
            elif known >= num_slots:
                if known == 2 * num_slots:
                    lost_often.pop(0)
                replace(key)
            once.append(key)
        result.append({*once, *often})
    return result


def lfru(stream: list[int], num_slots: int) -> Residents:
    """Keep a privileged list and the others, both least recent first, with counts."""
    privileged: OrderedDict[int, int] = OrderedDict()
    others: OrderedDict[int, int] = OrderedDict()
    result = []
    for key in stream:
        count = 1 + (privileged.pop(key, 0) or others.pop(key, 0))
        if len(privileged) + len(others) == num_slots:
            del others[min(others, key=lambda other: others[other])]
        privileged[key] = count
        if len(privileged) > num_slots // 2:
            other, of_other = privileged.popitem(last=False)
            others[other] = of_other
        result.append({*privileged, *others})
    return result


REFERENCES: dict[str, Callable[[list[int], int], Residents]] = {
    "clock": clock,
    "sieve": sieve,
    "s3fifo": s3fifo,
    "arc": arc,
    "lfru": lfru,
}


@pytest.mark.parametrize("name", REFERENCES)
@settings(derandomize=True, deadline=None, max_examples=300)
@given(stream=streams, num_slots=st.sampled_from([2, 3, 5, 10]))
def test_holds_what_its_definition_holds(name: str, stream: list[int], num_slots: int) -> None:
    """After every access the same keys are resident."""
    ours = [set(held) for _, held in residents(EVICTION[name], stream, num_slots)]
    assert ours == REFERENCES[name](stream, num_slots)


def test_the_hand_passes_over_what_is_held() -> None:
    """1 was touched and is spared; 2 is held; 3 goes. The next victim is 4, as the hand stands behind 3."""
    for name, then in (("clock", 4), ("sieve", 4)):
        view = HandView()
        policy = EVICTION[name](view)
        for key in (1, 2, 3, 4):
            policy.insert(key)
        policy.touch(1)
        view.held = {2}
        assert policy.victim() == 3
        policy.remove(3)
        view.held = set()
        assert policy.victim() == then


def test_more_bits_spare_a_key_more_often() -> None:
    """Touched three times, key 1 outlives one round of the hand with one bit, three with two."""
    for bits, rounds in ((1, 1), (2, 3)):
        policy = EVICTION["clock"](HandView(), bits=bits)
        policy.insert(1)
        for _ in range(3):
            policy.touch(1)
        order = []
        for key in range(2, 10):
            policy.insert(key)
            victim = policy.victim()
            assert victim is not None
            policy.remove(victim)
            order.append(victim)
        assert order.index(1) == rounds


def test_asks_for_sound_parameters() -> None:
    """What cannot be is refused with its value."""
    for name, parameters, message in (
        ("clock", {"bits": 0}, "bits is 0"),
        ("s3fifo", {"small_frac": 1.0}, "small_frac is 1.0"),
        ("s3fifo", {"promote_after": 4}, "promote_after is 4"),
        ("lfru", {"privileged_frac": 1.5}, "privileged_frac is 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            EVICTION[name](HandView(), **parameters)
