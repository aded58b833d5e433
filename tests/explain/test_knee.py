"""The search for a knee, on functions whose knee is known."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.explain.knee import Ladder, find_knee


def is_enough(value: float | None, limit: float | None) -> bool:
    """Within a hundredth."""
    return value is not None and limit is not None and (value - limit) / value < 0.01


@settings(derandomize=True, deadline=None)
@given(knee=st.integers(1, 400), now=st.integers(4, 400), fails_below=st.integers(0, 40))
def test_a_step_is_found_from_anywhere(knee: int, now: int, fails_below: int) -> None:
    """To 3 % above it, never below it; below what can be run nothing is enough."""
    asked: list[int] = []

    def evaluate(sizes: Sequence[int]) -> list[float | None]:
        asked.extend(sizes)
        return [None if size < fails_below else 10.0 if size < knee else 5.0 for size in sizes]

    ladder = Ladder(now=now, least=4, most=400, up=lambda size: 2 * size, down=lambda size: size // 2)
    found = find_knee(ladder, evaluate, is_enough)
    least = max(4, knee, fails_below)
    assert found.at is not None
    assert least <= found.at <= max(least + 1, least / 0.97)
    assert found.is_beyond == (now >= max(knee, fails_below))
    assert len(asked) == len(set(asked)), "nothing is run twice"
    assert [size for size, _ in found.tried] == sorted(asked)


def test_nothing_is_found_where_not_even_the_most_runs() -> None:
    """A link that breaks everything has no knee."""
    ladder = Ladder(now=8, least=4, most=64, up=lambda size: 2 * size, down=lambda size: size // 2)
    found = find_knee(ladder, lambda sizes: [10.0 if size == 8 else None for size in sizes], is_enough)
    assert (found.at, found.is_beyond) == (None, False)


@pytest.mark.parametrize("start", [0, -32, 64])
def test_steps_of_a_scale_are_found_to_the_unit(start: int) -> None:
    """With a resolution of 1 it is the very step, negative ones too."""
    ladder = Ladder(
        now=start, least=-96, most=320, up=lambda step: step + 16, down=lambda step: step - 16, resolution=1
    )
    found = find_knee(ladder, lambda sizes: [5.0 if size >= 37 else 10.0 for size in sizes], is_enough)
    assert found.at == 37
