"""What every way to batch must do. A policy added to BATCHING is tested here at once."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.batching import BATCHING

COUNTED = [name for name, make in BATCHING.items() if "count" in inspect.signature(make).parameters]

picks = st.lists(st.integers(0, 7), min_size=2, max_size=2, unique=True)
tokens = st.lists(st.tuples(st.lists(picks, min_size=3, max_size=3), st.integers(1, 50)), min_size=1, max_size=12)
Tokens = list[tuple[list[list[int]], int]]


@pytest.mark.parametrize("name", BATCHING)
@settings(derandomize=True, deadline=None, max_examples=80)
@given(batch=tokens)
def test_each_token_is_in_one_group(name: str, batch: Tokens) -> None:
    """No group is empty, and the same comes out each time, whoever is asked."""
    routing, contexts = [token for token, _ in batch], [context for _, context in batch]
    policy = BATCHING[name]()
    groups = [list(group) for group in policy.groups(routing, contexts)]
    assert all(groups)
    assert sorted(index for group in groups for index in group) == list(range(len(batch)))
    for again in (policy, BATCHING[name]()):
        assert [list(group) for group in again.groups(routing, contexts)] == groups


@pytest.mark.parametrize("name", COUNTED)
@settings(derandomize=True, deadline=None, max_examples=80)
@given(batch=tokens, count=st.integers(1, 5))
def test_as_many_groups_as_stated(name: str, batch: Tokens, count: int) -> None:
    """Unless there are fewer tokens, and none larger than an even share, rounded up; groups and members in batch order."""
    routing, contexts = [token for token, _ in batch], [context for _, context in batch]
    groups = [list(group) for group in BATCHING[name](count=count).groups(routing, contexts)]
    assert len(groups) == min(count, len(batch))
    assert max(map(len, groups)) <= -(-len(batch) // count)
    assert groups == sorted(sorted(group) for group in groups)


@pytest.mark.parametrize("name", COUNTED)
def test_refuses_no_groups(name: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match="count is 0; it should be 1 group or more"):
        BATCHING[name](count=0)
