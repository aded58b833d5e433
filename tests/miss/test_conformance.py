"""What every way of handling a miss must do. A policy added to MISS is tested here at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.miss import MISS, MissAction
from tests.hand_made import HandView

missing = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 64)), max_size=6, unique_by=lambda miss: miss[0])


@pytest.mark.parametrize("name", MISS)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(layers=st.lists(missing, max_size=6))
def test_decides_for_each_missing_expert(name: str, layers: list[list[tuple[int, int]]]) -> None:
    """One action per missing key, in order, and the same ones each time."""
    first, second = MISS[name](HandView()), MISS[name](HandView())
    for misses in layers:
        keys, num_tokens = [key for key, _ in misses], [tokens for _, tokens in misses]
        actions = list(first.decide(keys, num_tokens))
        assert len(actions) == len(keys)
        assert all(isinstance(action, MissAction) for action in actions)
        assert actions == list(second.decide(keys, num_tokens))


def test_fetch_fetches_all() -> None:
    """The GPU waits for every expert that it lacks."""
    assert MISS["fetch"](HandView()).decide([4, 2], [1, 7]) == [MissAction.FETCH, MissAction.FETCH]
