"""Which recorded tokens a request is made of, for traces made by hand."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.workload.arrivals import Arrival
from simulator.workload.drawing import Drawing, Drawn, Piece, token_ranges
from traces.errors import TraceError
from traces.format import Sequences, Trace, TraceMetadata, open_trace, write_trace


def make(
    path: Path, lengths: list[int], prompts: list[int], categories: list[int] | None = None, names: tuple[str, ...] = ()
) -> Trace:
    """Write a trace of one layer and top-1 whose routing does not matter."""
    sequences = Sequences(
        expert_ids=np.zeros((sum(lengths), 1, 1), np.uint8),
        sequence_start=np.cumsum([0, *lengths]).astype(np.int64),
        prompt_tokens=np.array(prompts, np.int32),
        sequence_category=None if categories is None else np.array(categories, np.uint16),
    )
    write_trace(path, sequences, TraceMetadata(model="m", num_experts=2, categories=names), overwrite=True)
    return open_trace(path)


def request(prompt_tokens: int, output_tokens: int, category: str | None = None, session: int | None = None) -> Arrival:
    """Return a request of these lengths."""
    return Arrival(
        arrival_ns=0, prompt_tokens=prompt_tokens, output_tokens=output_tokens, category=category, session=session
    )


def piece(sequence: int, start: int, stop: int) -> Piece:
    """Return a piece."""
    return Piece(sequence=sequence, start=start, stop=stop)


def num_tokens(pieces: tuple[Piece, ...]) -> int:
    """Return the tokens of all pieces."""
    return sum(one.stop - one.start for one in pieces)


def test_a_request_as_long_as_its_sequence_is_its_sequence(tmp_path: Path) -> None:
    """4 recorded prompt tokens and 6 of output: a prefill and 6 steps put out 7 tokens."""
    drawing = Drawing(make(tmp_path / "t.safetensors", [10], [4]), seed=1)
    assert drawing.draw(request(4, 7)) == Drawn(prompt=(piece(0, 0, 4),), decode=(piece(0, 4, 10),), chained=False)
    assert drawing.notes() == []


def test_a_shorter_request_takes_what_adjoins(tmp_path: Path) -> None:
    """The end of the prompt and the beginning of the output; one output token needs no step."""
    drawing = Drawing(make(tmp_path / "t.safetensors", [10], [4]), seed=1)
    assert drawing.draw(request(3, 3)) == Drawn(prompt=(piece(0, 1, 4),), decode=(piece(0, 4, 6),), chained=False)
    assert drawing.draw(request(1, 1)) == Drawn(prompt=(piece(0, 3, 4),), decode=(), chained=False)


def test_a_longer_request_chains_others(tmp_path: Path) -> None:
    """Prompts before, outputs after; with two sequences they take turns. It is noted."""
    trace = make(tmp_path / "t.safetensors", [10, 10], [4, 4])
    drawing = Drawing(trace, seed=1)
    drawn = drawing.draw(request(10, 9))
    first = drawn.prompt[-1].sequence
    other = 1 - first
    assert drawn.chained
    assert drawn.prompt == (piece(first, 2, 4), piece(other, 0, 4), piece(first, 0, 4))
    assert drawn.decode == (piece(first, 4, 10), piece(other, 4, 6))
    assert drawing.notes() == [
        "1 of 1 requests are longer than the recorded sequence that they drew, and chain several of the same category"
    ]


def test_one_sequence_that_repeats_is_a_chain_as_well(tmp_path: Path) -> None:
    """Where there is no other, the same tokens come again."""
    drawing = Drawing(make(tmp_path / "t.safetensors", [10], [4]), seed=1)
    drawn = drawing.draw(request(4, 10))
    assert drawn == Drawn(prompt=(piece(0, 0, 4),), decode=(piece(0, 4, 10), piece(0, 4, 7)), chained=True)


def test_without_recorded_prompts_one_stream_gives_both(tmp_path: Path) -> None:
    """Prompt first, then output, the tokens of each sequence in their order; and it is noted."""
    drawing = Drawing(make(tmp_path / "t.safetensors", [10], [0]), seed=1)
    assert drawing.draw(request(4, 7)) == Drawn(prompt=(piece(0, 0, 4),), decode=(piece(0, 4, 10),), chained=False)
    assert drawing.notes() == ["t.safetensors has no recorded prompts to draw: recorded output stands for prompts"]
    longer = drawing.draw(request(12, 3))
    assert (longer.prompt, longer.decode) == ((piece(0, 0, 10), piece(0, 0, 2)), (piece(0, 2, 4),))


def test_without_recorded_output_one_stream_gives_both(tmp_path: Path) -> None:
    """Likewise of a trace that is all prefill."""
    drawing = Drawing(make(tmp_path / "t.safetensors", [10], [10]), seed=1)
    assert drawing.draw(request(10, 1)) == Drawn(prompt=(piece(0, 0, 10),), decode=(), chained=False)
    assert drawing.notes() == ["t.safetensors has no recorded output to draw: recorded prompts stand for output"]


def test_a_category_is_drawn_from_its_own_sequences(tmp_path: Path) -> None:
    """All pieces are of it, chained ones too; without one, chains stay within that of the first piece."""
    trace = make(tmp_path / "t.safetensors", [6, 5, 7, 4], [2, 2, 2, 2], [0, 1, 0, 1], ("law", "code"))
    drawing = Drawing(trace, seed=3)
    for _ in range(30):
        drawn = drawing.draw(request(9, 20, "code"))
        assert {one.sequence for one in (*drawn.prompt, *drawn.decode)} == {1, 3}
    firsts: Counter[int] = Counter()
    for _ in range(200):
        drawn = drawing.draw(request(9, 20))
        used = {one.sequence for one in (*drawn.prompt, *drawn.decode)}
        assert used in ({0, 2}, {1, 3})
        firsts[drawn.decode[0].sequence] += 1
    assert set(firsts) == {0, 1, 2, 3}
    assert min(firsts.values()) > 25, "each begins about a quarter"


def test_a_category_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With those that are, and if the trace has none, that."""
    trace = make(tmp_path / "t.safetensors", [6, 5], [2, 2], [0, 1], ("law", "code"))
    with pytest.raises(TraceError, match=r"no sequence of the category 'poetry'.*it has code, law"):
        Drawing(trace, 1).draw(request(1, 1, "poetry"))
    with pytest.raises(TraceError, match=r"no sequence of the category 'law'.*it has code$"):
        Drawing(trace, 1, sequences=[1]).draw(request(1, 1, "law"))
    plain = make(tmp_path / "p.safetensors", [6], [2])
    with pytest.raises(TraceError, match="names no categories"):
        Drawing(plain, 1).draw(request(1, 1, "law"))
    with pytest.raises(TraceError, match="no sequence left"):
        Drawing(plain, 1, sequences=[])


def test_sequences_that_are_set_apart_are_not_drawn(tmp_path: Path) -> None:
    """Neither first nor in a chain."""
    drawing = Drawing(make(tmp_path / "t.safetensors", [6] * 5, [2] * 5), 1, sequences=range(2, 5))
    used = Counter(one.sequence for _ in range(50) for one in drawing.draw(request(5, 12)).decode)
    assert set(used) == {2, 3, 4}


def test_the_same_request_is_made_of_the_same_tokens(tmp_path: Path) -> None:
    """By seed and number alone: what else was drawn before, or how long it is, does not matter to the first sequence."""
    trace = make(tmp_path / "t.safetensors", [10] * 40, [4] * 40)

    def firsts(seed: int, lengths: int) -> list[int]:
        drawing = Drawing(trace, seed)
        return [drawing.draw(request(lengths, lengths)).prompt[-1].sequence for _ in range(30)]

    assert firsts(1, 2) == firsts(1, 50)
    assert firsts(1, 2) != firsts(2, 2)
    assert Drawing(trace, 1).draw_numbered(request(2, 2), 7).prompt[-1].sequence == firsts(1, 2)[7]


def test_sessions_draw_apart_where_they_are_told_to(tmp_path: Path) -> None:
    """The n-th request of a user is the same in whatever order users are served."""
    trace = make(tmp_path / "t.safetensors", [10] * 40, [4] * 40)
    turns = [0, 1, 0, 2, 1, 0, 2]

    def by_session(order: list[int]) -> dict[int, list[Drawn]]:
        drawing = Drawing(trace, 1, by_session=True)
        told: dict[int, list[Drawn]] = {session: [] for session in set(order)}
        for session in order:
            told[session].append(drawing.draw(request(3, 3, session=session)))
        return told

    drawn = by_session(turns)
    assert drawn == by_session(sorted(turns))
    assert len({one.prompt for told in drawn.values() for one in told}) > 4
    in_order, reversed_order = Drawing(trace, 1), Drawing(trace, 1)
    assert [in_order.draw(request(3, 3, session=one)) for one in turns] == [
        reversed_order.draw(request(3, 3, session=one)) for one in reversed(turns)
    ], "otherwise only the number counts"


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    shape=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=6),
    lengths=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    seed=st.integers(0, 999),
)
def test_pieces_have_the_tokens_that_were_asked_for(
    shape: list[tuple[int, int]], lengths: tuple[int, int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As many as asked, within their sequences, each phase from its own where all phases were recorded."""
    whole, prompts = [one for one, _ in shape], [min(one, prompt) for one, prompt in shape]
    trace = make(tmp_path_factory.mktemp("drawn") / "t.safetensors", whole, prompts)
    drawn = Drawing(trace, seed).draw(request(*lengths))
    assert num_tokens(drawn.prompt) == lengths[0]
    assert num_tokens(drawn.decode) == lengths[1] - 1
    pieces = (*drawn.prompt, *drawn.decode)
    assert all(0 <= one.start < one.stop <= whole[one.sequence] for one in pieces)
    tokens = [(one.sequence, token) for one in pieces for token in range(one.start, one.stop)]
    sequence, first = tokens[0]
    assert drawn.chained == (tokens != [(sequence, first + index) for index in range(len(tokens))])
    if any(prompts) and any(prompt < length for prompt, length in zip(prompts, whole, strict=True)):
        assert all(one.stop <= prompts[one.sequence] for one in drawn.prompt)
        assert all(one.start >= prompts[one.sequence] for one in drawn.decode)
    ranges = [list(one) for one in token_ranges(trace, pieces)]
    starts = trace.sequence_start
    assert ranges == [list(range(starts[p.sequence] + p.start, starts[p.sequence] + p.stop)) for p in pieces]


def test_a_first_sequence_has_both_phases_if_any_has(tmp_path: Path) -> None:
    """One with a prompt alone is used for longer prompts only."""
    trace = make(tmp_path / "t.safetensors", [6, 6, 6], [6, 3, 0])
    drawing = Drawing(trace, 1)
    for _ in range(20):
        assert drawing.draw(request(2, 2)) == Drawn(prompt=(piece(1, 1, 3),), decode=(piece(1, 3, 4),), chained=False)
    longer = drawing.draw(replace(request(4, 6)))
    assert longer.prompt == (piece(0, 5, 6), piece(1, 0, 3))
    assert longer.decode == (piece(1, 3, 6), piece(2, 0, 2))
