"""Little's law holds for what is counted right, and fails for what is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.metrics.littles_law import NumberInSystem, littles_law

Stays = list[tuple[int, int | None]]


def integral(stays: Stays, end_ns: int) -> tuple[NumberInSystem, int]:
    """Tell entries and exits in order of time."""
    events = [(enter, 0) for enter, _ in stays] + [(leave, 1) for _, leave in stays if leave is not None]
    number = NumberInSystem()
    for now_ns, is_exit in sorted(events):
        (number.leave if is_exit else number.enter)(now_ns)
    return number, number.integral_ns(end_ns)


@st.composite
def random_stays(draw: st.DrawFn) -> tuple[Stays, int]:
    """Draw stays, some of which go on past the end."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 500)), min_size=1, max_size=20))
    end_ns = draw(st.integers(1000, 1500))
    return [(enter, enter + stay if enter + stay <= end_ns else None) for enter, stay in pairs], end_ns


def test_by_hand() -> None:
    """One from 0 to 4 s, one from 2 s to the end at 8 s: 10 request-seconds, 1.25 on average, 5 s each."""
    stays: Stays = [(0, 4 * 10**9), (2 * 10**9, None)]
    number, area = integral(stays, 8 * 10**9)
    assert (area, number.number, number.most) == (10 * 10**9, 1, 2)
    law = littles_law(stays, area, 8 * 10**9)
    assert (law.mean_number, law.arrivals_per_s, law.mean_stay_s, law.num_arrivals) == (1.25, 0.25, 5.0, 2)
    assert law.mean_number == law.arrivals_per_s * law.mean_stay_s
    assert law.holds


@settings(derandomize=True, deadline=None, max_examples=100)
@given(run=random_stays(), lost=st.integers(0, 19))
def test_it_holds_unless_a_request_is_lost_or_doubled(run: tuple[Stays, int], lost: int) -> None:
    """In whole numbers; the residual is the stay that is missing, or there twice."""
    stays, end_ns = run
    _, area = integral(stays, end_ns)
    assert littles_law(stays, area, end_ns).holds
    index = lost % len(stays)
    enter, leave = stays[index]
    stay = (end_ns if leave is None else leave) - enter
    assert littles_law(stays[:index] + stays[index + 1 :], area, end_ns).residual_ns == stay
    assert littles_law([*stays, stays[index]], area, end_ns).residual_ns == -stay


def test_what_cannot_be_is_refused() -> None:
    """Time that runs backwards, an exit of nobody, a stay outside the run."""
    number = NumberInSystem()
    with pytest.raises(ValueError, match="nobody is there"):
        number.leave(5)
    number.enter(7)
    with pytest.raises(ValueError, match="6 ns, but was 7"):
        number.enter(6)
    for stay in ((5, 4), (-1, 4), (5, 11), (11, None)):
        with pytest.raises(ValueError, match="of a run of 10 ns"):
            littles_law([stay], 0, 10)


def test_an_empty_run() -> None:
    """Nothing, and it holds."""
    law = littles_law([], 0, 0)
    assert (law.mean_number, law.arrivals_per_s, law.mean_stay_s, law.holds) == (0.0, 0.0, 0.0, True)
