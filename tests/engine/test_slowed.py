"""What the stream loses while the link serves: the share that is stated, whatever the pieces of work."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.slowed import PPM, Slowed


class OneClock:
    """A stream and a link that never rests, from a time on."""

    def __init__(self, ppm: int, link_from_ns: int = 0) -> None:
        self.now_ns = 0
        self._link_from_ns = link_from_ns
        self._slowed = Slowed(lambda: max(0, self.now_ns - self._link_from_ns), ppm=ppm)

    def wait(self, duration_ns: int) -> None:
        """Do nothing."""
        self.now_ns += duration_ns
        self._slowed.begin()

    def work(self, duration_ns: int) -> None:
        """Work, and make up for what is lost."""
        self.now_ns += duration_ns
        while lost_ns := self._slowed.lost_ns():
            self.now_ns += lost_ns


@given(pieces=st.lists(st.integers(0, 10_000), min_size=1, max_size=20), ppm=st.integers(0, 990_000))
def test_work_beside_a_link_that_never_rests(pieces: list[int], ppm: int) -> None:
    """It takes w / (1 - s), rounded up to a nanosecond once, however it is divided."""
    clock = OneClock(ppm)
    for piece in pieces:
        clock.work(piece)
    work_ns, share = sum(pieces), Fraction(ppm, PPM)
    assert work_ns <= clock.now_ns - int(clock.now_ns * share) < work_ns + 1
    assert clock.now_ns < work_ns / (1 - share) + 1
    assert clock.now_ns - 1 - int((clock.now_ns - 1) * share) < work_ns or clock.now_ns == 0, "no earlier time would do"


@given(pieces=st.lists(st.tuples(st.integers(0, 500), st.booleans()), max_size=20), ppm=st.integers(1, 990_000))
def test_nothing_is_lost_while_waiting(pieces: list[tuple[int, bool]], ppm: int) -> None:
    """Waits in between change nothing of how long the work takes."""
    with_waits, without = OneClock(ppm), OneClock(ppm)
    waited_ns = 0
    for duration_ns, is_wait in pieces:
        if is_wait:
            with_waits.wait(duration_ns)
            waited_ns += duration_ns
        else:
            with_waits.work(duration_ns)
            without.work(duration_ns)
    assert with_waits.now_ns - waited_ns == without.now_ns


def test_nothing_is_lost_beside_a_link_that_rests() -> None:
    """Until it begins."""
    clock = OneClock(500_000, link_from_ns=1000)
    clock.work(1000)
    assert clock.now_ns == 1000
    clock.work(1000)
    assert clock.now_ns == 3000 - 1, "the nanosecond that is lost in part is not lost"


@pytest.mark.parametrize("ppm", [-1, PPM])
def test_a_share_of_all_is_refused(ppm: int) -> None:
    """Or of less than nothing."""
    with pytest.raises(ValueError, match="below 1000000"):
        Slowed(lambda: 0, ppm=ppm)


def test_more_is_lost_with_a_larger_share() -> None:
    """Strictly, where work is long."""
    ends = []
    for ppm in range(0, 900_000, 100_000):
        clock = OneClock(ppm)
        clock.work(100_000)
        ends.append(clock.now_ns)
    assert all(one < other for one, other in pairwise(ends))
