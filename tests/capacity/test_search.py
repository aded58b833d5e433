"""Bracketing and bisection, on borders that are known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.capacity.search import Bracket, contradictions, search


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(1e-5, 1e5), st.sampled_from([0.3, 0.02, 0.001]))
def test_the_border_is_in_the_bracket(border: float, tolerance: float) -> None:
    """It lies between what was kept and what was not, which are as close as asked; nothing is asked twice."""
    asked: list[float] = []

    def keeps(factor: float) -> bool:
        asked.append(factor)
        return factor <= border

    found = search(keeps, tolerance=tolerance)
    assert found.kept is not None
    assert found.not_kept is not None
    assert found.kept <= border < found.not_kept <= found.kept * (1 + tolerance) * (1 + 1e-6)
    assert {found.kept, found.not_kept} <= set(asked)
    assert len(asked) == len(set(asked)) <= 20 + 12


def test_without_a_border() -> None:
    """What is always kept, or never, is told after so many doublings."""
    assert search(lambda _: True, tolerance=0.1, most_doublings=3) == Bracket(kept=8, not_kept=None)
    assert search(lambda _: False, tolerance=0.1, most_doublings=3) == Bracket(kept=None, not_kept=0.125)


def test_what_speaks_against_one_border() -> None:
    """Not kept at less than what was kept."""
    assert contradictions([(1, True), (2, False), (1.5, True)]) == []
    assert contradictions([(1, False), (2, True), (3, False), (0.5, False)]) == [0.5, 1]
    assert contradictions([]) == []


@pytest.mark.parametrize("border", [1.0, 2.0])
def test_a_border_that_was_asked(border: float) -> None:
    """The border itself is kept."""
    assert search(lambda factor: factor <= border, tolerance=0.01).kept == border
