"""Compute by tiles: closed forms, cases by hand, and what more tiles may do."""

from collections.abc import Generator
from itertools import pairwise

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.resources.clock import Clock
from simulator.resources.link import Link
from simulator.resources.transfers import Stretch, Transfer
from simulator.tiles import tile_arrivals_ns, tiled_end_ns

durations = st.integers(1, 60)
several_stretches = st.lists(st.tuples(st.integers(0, 20), durations, durations), min_size=1, max_size=4)


def in_one(start_ns: int, end_ns: int) -> list[Stretch]:
    """Return the one stretch of a transfer that nothing interrupts or slows."""
    return [Stretch(start_ns, end_ns, end_ns - start_ns)]


def after_gaps(drawn: list[tuple[int, int, int]]) -> list[Stretch]:
    """Return stretches from (gap before, length, what is served)."""
    stretches: list[Stretch] = []
    now_ns = 0
    for gap_ns, length_ns, served_ns in drawn:
        stretches.append(Stretch(now_ns + gap_ns, now_ns + gap_ns + length_ns, served_ns))
        now_ns += gap_ns + length_ns
    return stretches


@settings(derandomize=True, deadline=None)
@given(drawn=several_stretches, free_ns=st.integers(0, 300), kernel_ns=st.integers(0, 100), overhead_ns=durations)
def test_one_tile_is_the_kernel_after_the_transfer(
    drawn: list[tuple[int, int, int]], free_ns: int, kernel_ns: int, overhead_ns: int
) -> None:
    """However the transfer was interrupted, and without an overhead."""
    stretches = after_gaps(drawn)
    end_ns = tiled_end_ns(
        stream_free_ns=free_ns, stretches=stretches, num_tiles=1, kernel_ns=kernel_ns, overhead_ns=overhead_ns
    )
    assert end_ns == max(free_ns, stretches[-1].end_ns) + kernel_ns


@settings(derandomize=True, deadline=None)
@given(num_tiles=st.integers(1, 12), tile_ns=st.integers(0, 30), more_ns=st.integers(0, 30), overhead_ns=durations)
def test_where_the_transfer_sets_the_pace_the_last_tile_is_left(
    num_tiles: int, tile_ns: int, more_ns: int, overhead_ns: int
) -> None:
    """Tiles arrive no faster than they are computed: the end is that of the transfer and one tile more."""
    each_ns = tile_ns + overhead_ns + more_ns
    end_ns = tiled_end_ns(
        stream_free_ns=0,
        stretches=in_one(100, 100 + num_tiles * each_ns),
        num_tiles=num_tiles,
        kernel_ns=num_tiles * tile_ns,
        overhead_ns=overhead_ns,
    )
    assert end_ns == 100 + num_tiles * each_ns + tile_ns + (overhead_ns if num_tiles > 1 else 0)


@settings(derandomize=True, deadline=None)
@given(num_tiles=st.integers(1, 12), arrives_ns=st.integers(1, 30), more_ns=st.integers(0, 30), overhead_ns=durations)
def test_where_the_kernel_sets_the_pace_the_first_tile_is_waited_for(
    num_tiles: int, arrives_ns: int, more_ns: int, overhead_ns: int
) -> None:
    """Tiles are computed no faster than they arrive: the end is the first arrival, the kernel and the overheads."""
    kernel_ns = num_tiles * (arrives_ns + more_ns)
    end_ns = tiled_end_ns(
        stream_free_ns=0,
        stretches=in_one(100, 100 + num_tiles * arrives_ns),
        num_tiles=num_tiles,
        kernel_ns=kernel_ns,
        overhead_ns=overhead_ns,
    )
    assert end_ns == 100 + arrives_ns + kernel_ns + (num_tiles - 1) * overhead_ns


def test_a_busy_stream_computes_all_tiles_at_once() -> None:
    """The stream is free at 40, when the transfer is over: nothing is gained, and each further tile costs 2."""
    for num_tiles, end_ns in ((1, 50), (2, 52), (5, 58)):
        found_ns = tiled_end_ns(
            stream_free_ns=40, stretches=in_one(0, 20), num_tiles=num_tiles, kernel_ns=10, overhead_ns=2
        )
        assert found_ns == end_ns


def test_rounded_up_once() -> None:
    """Three tiles of 10 / 3 arrive at 1 + 7 i / 3: 3 1/3, 5 2/3, 8; computed by 6 2/3, 10, 13 1/3."""
    assert tiled_end_ns(stream_free_ns=0, stretches=in_one(1, 8), num_tiles=3, kernel_ns=10) == 14


def test_tiles_of_an_interrupted_transfer() -> None:
    """Served for 6 from 0 and for 2 from 20: tiles of 2 arrive at 2, 4, 6 and 22.

    Tiles of 5 take until 7, 12, 17, and the last until 27; as a whole, until 42.
    """
    stretches = [Stretch(0, 6, 6), Stretch(20, 22, 2)]
    assert tile_arrivals_ns(stretches, 4) == [2, 4, 6, 22]
    assert tiled_end_ns(stream_free_ns=0, stretches=stretches, num_tiles=4, kernel_ns=20) == 27
    assert tiled_end_ns(stream_free_ns=0, stretches=stretches, num_tiles=1, kernel_ns=20) == 42


def test_tiles_of_a_transfer_that_was_slowed() -> None:
    """4 of 8 are served in 10, the rest in 4: tiles of 2 arrive at 5, 10, 12, 14."""
    assert tile_arrivals_ns([Stretch(0, 10, 4), Stretch(10, 14, 4)], 4) == [5, 10, 12, 14]


def test_a_transfer_that_takes_no_time() -> None:
    """All tiles are there at once."""
    assert tile_arrivals_ns([Stretch(7, 7, 0)], 3) == [7, 7, 7]
    assert tiled_end_ns(stream_free_ns=0, stretches=[Stretch(7, 7, 0)], num_tiles=3, kernel_ns=9) == 16


@settings(derandomize=True, deadline=None, max_examples=200)
@given(start_ns=durations, length_ns=durations, free_ns=st.integers(0, 150), kernel_ns=st.integers(0, 150))
def test_more_tiles_are_never_later(start_ns: int, length_ns: int, free_ns: int, kernel_ns: int) -> None:
    """Without an overhead and without interruptions."""
    ends_ns = [
        tiled_end_ns(
            stream_free_ns=free_ns,
            stretches=in_one(start_ns, start_ns + length_ns),
            num_tiles=num_tiles,
            kernel_ns=kernel_ns,
        )
        for num_tiles in range(1, 10)
    ]
    assert all(later <= earlier for earlier, later in pairwise(ends_ns))
    assert ends_ns[-1] >= max(free_ns + kernel_ns, start_ns + length_ns)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    drawn=several_stretches,
    free_ns=st.integers(0, 300),
    kernel_ns=st.integers(0, 150),
    num_tiles=st.integers(1, 4),
    parts=st.integers(2, 4),
)
def test_smaller_tiles_are_never_later(
    drawn: list[tuple[int, int, int]], free_ns: int, kernel_ns: int, num_tiles: int, parts: int
) -> None:
    """With interruptions this holds where each tile is divided; a tile that straddles a gap may lose otherwise."""
    stretches = after_gaps(drawn)
    whole_ns, divided_ns = (
        tiled_end_ns(stream_free_ns=free_ns, stretches=stretches, num_tiles=number, kernel_ns=kernel_ns)
        for number in (num_tiles, num_tiles * parts)
    )
    assert divided_ns <= whole_ns


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"num_tiles": 0}, "num_tiles is 0"),
        ({"kernel_ns": -1}, "kernel_ns is -1"),
        ({"overhead_ns": -2}, "overhead_ns -2"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict[str, int], told: str) -> None:
    """With the value."""
    arguments = {"stream_free_ns": 0, "num_tiles": 1, "kernel_ns": 1, **changed}
    with pytest.raises(ValueError, match=told):
        tiled_end_ns(stretches=in_one(0, 1), **arguments)
    with pytest.raises(ValueError, match="stretches is empty"):
        tiled_end_ns(stretches=[], **arguments | {"num_tiles": 1, "kernel_ns": 1})


@pytest.mark.parametrize("keeps", [True, False])
def test_a_link_keeps_the_stretches_of_a_transfer(keeps: bool) -> None:
    """Key 1 gives way at 4 to key 2 and goes on at 14; a link that is not told to keeps nothing."""
    env = Clock()
    delivered: list[Transfer] = []
    link = Link(env, chunk_ends_ns=(4, 7, 10), deliver=delivered.append, keeps_stretches=keeps)

    def decide() -> Generator[simpy.Event, None, None]:
        link.prefetch(1)
        yield env.timeout(2)
        link.demand(2)

    env.process(decide())
    env.run()
    expected = [(2, [(4, 14, 10)]), (1, [(0, 4, 4), (14, 20, 6)])]
    found = [(transfer.key, transfer.stretches) for transfer in delivered]
    assert found == (expected if keeps else [(key, None) for key, _ in expected])
