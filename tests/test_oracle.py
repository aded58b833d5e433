"""The recorded future against a scan of the visits."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.oracle import RecordedFuture
from simulator.view import NEVER
from simulator.workload.step import Step
from tests.hand_made import Scan

NUM_LAYERS = 2
NUM_KEYS = 6
token = st.lists(
    st.lists(st.integers(0, NUM_KEYS - 1), min_size=2, max_size=2, unique=True),
    min_size=NUM_LAYERS,
    max_size=NUM_LAYERS,
)


def step_of(tokens: Sequence[Sequence[Sequence[int]]]) -> Step:
    """Make a decode step of tokens, of which only the routing counts here."""
    return Step(is_prefill=False, tokens=tokens, contexts=[1] * len(tokens), requests=[], emits=[])


@settings(derandomize=True, deadline=None, max_examples=150)
@given(steps=st.lists(st.lists(token, min_size=1, max_size=3), max_size=8))
def test_agrees_with_a_scan(steps: list[list[list[list[int]]]]) -> None:
    """Before the first gate and after each, next uses and coming visits are those that a search finds."""
    visits = [
        list(dict.fromkeys(key for token in tokens for key in token[layer]))
        for tokens in steps
        for layer in range(NUM_LAYERS)
    ]
    scan = Scan(visits)
    future = RecordedFuture(map(step_of, steps), num_layers=NUM_LAYERS, num_keys=NUM_KEYS)
    for visit in range(-1, len(visits)):
        if visit >= 0:
            future.advance()
            scan.visit = visit
        assert [future.next_visit(key) for key in range(NUM_KEYS)] == [scan.next_visit(key) for key in range(NUM_KEYS)]
        for ahead in range(1, 5):
            assert list(future.upcoming(ahead)) == scan.upcoming(ahead)


def test_a_key_that_is_not_used_again() -> None:
    """After its last visit a key's next use is NEVER, which lies beyond every visit."""
    future = RecordedFuture([step_of([[[0, 1], [2, 3]]])], num_layers=2, num_keys=5)
    assert [future.next_visit(key) for key in range(5)] == [0, 0, 1, 1, NEVER]
    future.advance()
    assert [future.next_visit(key) for key in range(5)] == [NEVER, NEVER, 1, 1, NEVER]
    assert NEVER > 10**18
