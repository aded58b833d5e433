"""A closed loop whose rounds are divided into groups."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.batching import BATCHING
from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.step import TokenRouting
from tests.hand_made import make_trace, random_routing
from tests.workload.test_closed_loop import indices, numbered, told
from traces.format import Sequences, TraceMetadata, open_trace, write_trace


class Backwards:
    """One group each, the last first."""

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return single indices."""
        del contexts
        return [[index] for index in reversed(range(len(tokens)))]


class Stated:
    """Whatever groups a test states."""

    def __init__(self, *groups: Sequence[int]) -> None:
        self._groups = groups

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return them."""
        del tokens, contexts
        return self._groups


def test_sequences_are_replaced_when_a_round_is_over(tmp_path: Path) -> None:
    """Lengths 1, 3, 2 with two slots, one step each: sequence 0 ends in the first round, 2 joins in the second.

    Who joins does so in the first step of a round, before its own.
    """
    trace = make_trace(tmp_path / "t.safetensors", numbered([1, 3, 2]), num_experts=6)
    loop = ClosedLoop(trace=trace, sequences=range(3), batch=2, batching=BATCHING["micro_batches"]())
    steps = list(loop.steps())
    assert [told(step) for step in steps] == [
        ("decode", [0], [1], [0]),
        ("decode", [1], [1], [1]),
        ("decode", [4], [1], [2]),
        ("decode", [2], [2], [1]),
        ("decode", [5], [2], [2]),
        ("decode", [3], [3], [1]),
    ]
    assert [indices(step.joins) for step in steps] == [[0, 1], [], [2], [], [], []]
    assert [indices(step.ends) for step in steps] == [[0], [], [], [], [2], [1]]


def test_groups_run_in_the_order_named(tmp_path: Path) -> None:
    """The policy says which goes first, and a prefill is a step of its own as ever."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([2, 3]), num_experts=5, prompt_tokens=[0, 2])
    steps = list(ClosedLoop(trace=trace, sequences=range(2), batch=2, batching=Backwards()).steps())
    assert [told(step) for step in steps] == [
        ("prefill", [2, 3], [1, 2], [1]),
        ("decode", [4], [3], [1]),
        ("decode", [0], [1], [0]),
        ("decode", [1], [2], [0]),
    ]
    assert [indices(step.ends) for step in steps] == [[], [1], [], [0]]


def test_weights_and_lookahead_go_with_their_tokens(tmp_path: Path) -> None:
    """Each group has those of its own tokens."""
    path = tmp_path / "t.safetensors"
    ids = np.arange(6, dtype=np.uint8).reshape(6, 1, 1)
    write_trace(
        path,
        Sequences(
            expert_ids=ids,
            sequence_start=np.array([0, 2, 4, 6]),
            prompt_tokens=np.zeros(3, np.int32),
            gate_weights=(ids / 8).astype(np.float16),
            lookahead_ids=ids[:, :, None],
        ),
        TraceMetadata(model="hand-made", num_experts=6),
    )
    loop = ClosedLoop(trace=open_trace(path), sequences=range(3), batch=3, batching=Stated([2, 0], [1]))
    steps = list(loop.steps(lookahead_layers=1, gate_weights=True))
    assert [step.tokens for step in steps] == [[[[4]], [[0]]], [[[2]]], [[[5]], [[1]]], [[[3]]]]
    assert [step.weights for step in steps] == [
        [[[0.5]], [[0.0]]],
        [[[0.25]]],
        [[[0.625]], [[0.125]]],
        [[[0.375]]],
    ]
    assert [step.lookahead for step in steps] == [[[[[4]]], [[[0]]]], [[[[2]]]], [[[[5]]], [[[1]]]], [[[[3]]]]]


@pytest.mark.parametrize(("max_tokens", "num_steps"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_max_tokens_may_end_a_run_within_a_round(max_tokens: int, num_steps: int, tmp_path: Path) -> None:
    """Steps of two, one, two and one tokens."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([2, 2, 2]), num_experts=6)
    loop = ClosedLoop(
        trace=trace, sequences=range(3), batch=3, max_tokens=max_tokens, batching=BATCHING["micro_batches"]()
    )
    assert len(list(loop.steps())) == num_steps


@pytest.mark.parametrize(
    "groups", [([0],), ([0, 1], [1]), ([0], [], [1]), ([0, 2],), ()], ids=["lost", "twice", "empty", "unknown", "none"]
)
def test_groups_that_are_none_are_refused(groups: tuple[list[int], ...], tmp_path: Path) -> None:
    """A policy of the user's may err; the fault says what it did."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([1, 1]), num_experts=2)
    loop = ClosedLoop(trace=trace, sequences=range(2), batch=2, batching=Stated(*groups))
    with pytest.raises(ValueError, match=r"batching: Stated made the groups .* of 2 sequences"):
        list(loop.steps())


lengths_and_prompts = st.lists(
    st.integers(1, 12).flatmap(lambda length: st.tuples(st.just(length), st.integers(0, length))),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("name", BATCHING)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(sequences=lengths_and_prompts, batch=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_same_tokens_run_in_the_same_rounds(
    name: str, sequences: list[tuple[int, int]], batch: int, seed: int
) -> None:
    """However they are divided: joined end to end, a round's groups are the step that all of it would have been."""
    lengths = [length for length, _ in sequences]
    with tempfile.TemporaryDirectory() as folder:
        trace = make_trace(
            Path(folder) / "t.safetensors",
            random_routing(seed, lengths=lengths, num_layers=2, num_experts=6, top_k=2),
            num_experts=6,
            prompt_tokens=[prompt for _, prompt in sequences],
        )
    whole = ClosedLoop(trace=trace, sequences=range(len(lengths)), batch=batch).steps()
    parts = ClosedLoop(trace=trace, sequences=range(len(lengths)), batch=batch, batching=BATCHING[name]()).steps()
    for step in whole:
        mine: list[tuple[int, int, str]] = []
        joined: list[int] = []
        ended: Counter[int] = Counter()
        while len(mine) < len(step.tokens):
            part = next(parts)
            assert part.is_prefill == step.is_prefill
            owners = indices(part.requests) * (len(part.tokens) if part.is_prefill else 1)
            assert indices(part.emits) == ([] if part.is_prefill and not step.emits else indices(part.requests))
            mine += zip(owners, part.contexts, map(str, part.tokens), strict=True)
            joined += indices(part.joins)
            ended.update(indices(part.ends))
        owners = indices(step.requests) * (len(step.tokens) if step.is_prefill else 1)
        assert sorted(mine) == sorted(zip(owners, step.contexts, map(str, step.tokens), strict=True))
        assert joined == indices(step.joins)
        assert ended == Counter(indices(step.ends))
    assert next(parts, None) is None
