"""Knees of curves whose knees are known."""

from simulator.mrc.knees import knees


def test_a_bend_is_a_knee() -> None:
    """Where a steep line gives way to a flat one."""
    assert knees(range(101), [min(10 * size, 300 + (size - 30)) for size in range(101)]) == [30]


def test_steps_are_knees_in_order_of_size() -> None:
    """A curve that rises twice has two."""
    hits = [0] * 20 + [500] * 30 + [1000] * 51
    assert knees(range(101), hits) == [20, 50]


def test_a_line_has_none() -> None:
    """Nor has a curve that never rises, nor one of two points."""
    assert knees(range(50), [7 * size for size in range(50)]) == []
    assert knees(range(50), [3] * 50) == []
    assert knees([1, 2], [0, 5]) == []
