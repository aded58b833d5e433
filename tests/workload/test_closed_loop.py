"""The steps of a closed loop, written out for traces made by hand."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.workload.closed_loop import ClosedLoop
from simulator.workload.request import Request
from simulator.workload.step import Step, distinct_experts
from tests.hand_made import Routing, make_trace, random_routing
from traces.format import Trace


def numbered(lengths: list[int]) -> Routing:
    """Make sequences of one layer and top-1 in which each token's expert is its own number in the trace."""
    numbers = iter(range(sum(lengths)))
    return [[[[next(numbers)]] for _ in range(length)] for length in lengths]


def told(step: Step) -> tuple[str, list[int], list[int], list[int]]:
    """Return (kind, token numbers, contexts, requests that emit) of a step over numbered tokens."""
    tokens = [token[0][0] for token in step.tokens]
    kind = "prefill" if step.is_prefill else "decode"
    return kind, tokens, list(step.contexts), indices(step.emits)


def indices(requests: Sequence[Request]) -> list[int]:
    """Return the requests' indices in the run."""
    return [request.index for request in requests]


def test_a_sequence_that_ends_is_replaced_in_its_slot_at_the_next_step(tmp_path: Path) -> None:
    """Lengths 1, 3, 2, 1 with two slots: sequence 2 takes the slot of 0 and stays ahead of 1; 3 takes the slot of 2."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([1, 3, 2, 1]), num_experts=7)
    steps = list(ClosedLoop(trace=trace, sequences=range(4), batch=2).steps())
    assert [told(step) for step in steps] == [
        ("decode", [0, 1], [1, 1], [0, 1]),
        ("decode", [4, 2], [1, 2], [2, 1]),
        ("decode", [5, 3], [2, 3], [2, 1]),
        ("decode", [6], [1], [3]),
    ]
    assert [indices(step.joins) for step in steps] == [[0, 1], [2], [], [3]]
    assert [indices(step.ends) for step in steps] == [[0], [], [2, 1], [3]]
    assert [indices(step.requests) for step in steps] == [[0, 1], [2, 1], [2, 1], [3]]


def test_prompts_run_first_as_steps_of_their_own_in_the_order_of_the_slots(tmp_path: Path) -> None:
    """Both prompts before the first decode step; a later joiner's prompt keeps the others waiting.

    A prefill puts out its request's first token.
    """
    trace = make_trace(
        tmp_path / "t.safetensors",
        numbered([3, 5, 3]),
        num_experts=11,
        prompt_tokens=[2, 3, 2],
        context_start=[0, 4, 0],
    )
    steps = list(ClosedLoop(trace=trace, sequences=range(3), batch=2).steps())
    assert [told(step) for step in steps] == [
        ("prefill", [0, 1], [1, 2], [0]),
        ("prefill", [3, 4, 5], [5, 6, 7], [1]),
        ("decode", [2, 6], [3, 8], [0, 1]),
        ("prefill", [8, 9], [1, 2], [2]),
        ("decode", [10, 7], [3, 9], [2, 1]),
    ]
    assert [indices(step.joins) for step in steps] == [[0, 1], [], [], [2], []]
    assert [indices(step.ends) for step in steps] == [[], [], [0], [], [2, 1]]
    assert [indices(step.requests) for step in steps] == [[0], [1], [0, 1], [2], [2, 1]]


def test_a_chunked_prefill_emits_with_its_last_chunk(tmp_path: Path) -> None:
    """Five prompt tokens in chunks of two are three steps; the first output token comes with the third."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([6, 2]), num_experts=8, prompt_tokens=[5, 0])
    steps = list(ClosedLoop(trace=trace, sequences=range(2), batch=2, prefill_chunk_tokens=2).steps())
    assert [told(step) for step in steps] == [
        ("prefill", [0, 1], [1, 2], []),
        ("prefill", [2, 3], [3, 4], []),
        ("prefill", [4], [5], [0]),
        ("decode", [5, 6], [6, 1], [0, 1]),
        ("decode", [7], [2], [1]),
    ]


def test_a_sequence_that_is_all_prompt_ends_with_its_prefill(tmp_path: Path) -> None:
    """It puts out one token and makes room; the joiner's prefill is the next step."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([2, 2]), num_experts=4, prompt_tokens=[2, 1])
    steps = list(ClosedLoop(trace=trace, sequences=range(2), batch=1).steps())
    assert [told(step) for step in steps] == [
        ("prefill", [0, 1], [1, 2], [0]),
        ("prefill", [2], [1], [1]),
        ("decode", [3], [2], [1]),
    ]
    assert [indices(step.ends) for step in steps] == [[0], [], [1]]


@pytest.mark.parametrize(("max_tokens", "num_steps"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (99, 4)])
def test_max_tokens_ends_the_run_with_the_step_that_reaches_it(max_tokens: int, num_steps: int, tmp_path: Path) -> None:
    """Steps are whole: two tokens at a time here, then one."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([3, 4]), num_experts=7)
    loop = ClosedLoop(trace=trace, sequences=range(2), batch=2, max_tokens=max_tokens)
    assert len(list(loop.steps())) == num_steps


def test_fewer_sequences_than_slots(tmp_path: Path) -> None:
    """The batch is then never full; only the sequences that were named take part, in their order."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([2, 2, 2]), num_experts=6)
    steps = list(ClosedLoop(trace=trace, sequences=[2, 0], batch=5).steps())
    assert [told(step)[1] for step in steps] == [[4, 0], [5, 1]]
    assert [request.sequence for request in steps[0].joins] == [2, 0]


def test_each_call_is_a_fresh_run(tmp_path: Path) -> None:
    """Steps may be drawn twice: the same steps, with requests of their own."""
    trace = make_trace(tmp_path / "t.safetensors", numbered([2, 1]), num_experts=3)
    loop = ClosedLoop(trace=trace, sequences=range(2), batch=1)
    first, second = list(loop.steps()), list(loop.steps())
    assert [told(step) for step in first] == [told(step) for step in second]
    assert first[0].requests[0] is not second[0].requests[0]


def test_routing_is_named_by_bank_and_expert(tmp_path: Path) -> None:
    """A key is bank * experts + expert: rounds that share a bank ask for the same keys."""
    routing = [[[[2, 0], [1, 2], [0, 1]]]]
    trace = make_trace(tmp_path / "t.safetensors", routing, num_experts=3, banks=(0, 1, 0))
    (step,) = ClosedLoop(trace=trace, sequences=[0], batch=1).steps()
    assert step.tokens == [[[2, 0], [4, 5], [0, 1]]]


lengths_and_prompts = st.lists(
    st.integers(1, 90).flatmap(lambda length: st.tuples(st.just(length), st.integers(0, length))),
    min_size=1,
    max_size=6,
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    sequences=lengths_and_prompts,
    batch=st.integers(1, 4),
    chunk_tokens=st.none() | st.integers(1, 40),
)
def test_every_recorded_token_is_run_exactly_once(
    sequences: list[tuple[int, int]], batch: int, chunk_tokens: int | None
) -> None:
    """And in order within its sequence, each attending to those before it; every request joins, emits and ends once."""
    lengths = [length for length, _ in sequences]
    trace = _numbered_trace(lengths, [prompt for _, prompt in sequences])
    steps = list(
        ClosedLoop(trace=trace, sequences=range(len(lengths)), batch=batch, prefill_chunk_tokens=chunk_tokens).steps()
    )
    seen: list[list[int]] = [[] for _ in lengths]
    first_token = trace.sequence_start.tolist()
    for step in steps:
        assert len(step.tokens) == len(step.contexts)
        owners = list(step.requests) * (len(step.tokens) if step.is_prefill else 1)
        assert len(step.requests) == 1 if step.is_prefill else len(step.requests) <= batch
        for request, token, context in zip(owners, step.tokens, step.contexts, strict=True):
            number = token[0][0]
            assert context == number - first_token[request.sequence] + 1
            seen[request.sequence].append(number)
        if step.is_prefill and chunk_tokens is not None:
            assert len(step.tokens) <= chunk_tokens
    assert seen == [list(range(start, stop)) for start, stop in pairwise(first_token)]
    emitted = Counter(request.sequence for step in steps for request in step.emits)
    assert emitted == Counter({at: length - prompt + (prompt > 0) for at, (length, prompt) in enumerate(sequences)})
    for events in ([step.joins for step in steps], [step.ends for step in steps]):
        assert sorted(request.index for requests in events for request in requests) == list(range(len(lengths)))


def _numbered_trace(lengths: list[int], prompt_tokens: list[int]) -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        return make_trace(
            Path(folder) / "t.safetensors",
            numbered(lengths),
            num_experts=max(1, sum(lengths)),
            prompt_tokens=prompt_tokens,
        )


token = st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3, unique=True), min_size=2, max_size=2)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(tokens=st.lists(token, min_size=1, max_size=8), layer=st.integers(0, 1))
def test_distinct_experts_stand_in_order_of_first_appearance(tokens: list[list[list[int]]], layer: int) -> None:
    """Tokens in batch order, ranks within a token; each with the number of tokens routed to it."""
    asked_for: list[int] = []
    for routing in tokens:
        asked_for += routing[layer]
    expected: list[int] = []
    for key in asked_for:
        if key not in expected:
            expected.append(key)
    keys, num_tokens = distinct_experts(tokens, layer)
    assert list(keys) == expected
    counts = [1] * len(keys) if num_tokens is None else list(num_tokens)
    assert counts == [asked_for.count(key) for key in expected]


def test_recorded_routing_is_read_back_whole(tmp_path: Path) -> None:
    """Sequences longer than one read come out token by token as they were written."""
    routing = random_routing(5, lengths=[150, 64, 65], num_layers=2, num_experts=6, top_k=2)
    trace = make_trace(tmp_path / "t.safetensors", routing, num_experts=6)
    steps = ClosedLoop(trace=trace, sequences=range(3), batch=1).steps()
    tokens = [token for sequence in routing for token in sequence]
    expected = [[[6 * layer + expert for expert in ids] for layer, ids in enumerate(token)] for token in tokens]
    assert [step.tokens[0] for step in steps] == expected
