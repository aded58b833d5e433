"""The curve of all capacities against the simulator's cache at each, and against plain definitions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.eviction.lru import LRU
from simulator.mrc.accesses import Accesses, bank_accesses, global_accesses
from simulator.mrc.belady import Belady
from simulator.mrc.lru import lru_hits
from simulator.mrc.replay import replay_hits
from simulator.scenario import PolicyChoice
from tests.hand_made import make_trace, random_routing
from traces.format import Trace

Events = Sequence[Sequence[int]]


def as_accesses(events: Events, num_keys: int) -> Accesses:
    """Return events as arrays."""
    return Accesses(
        keys=np.array([key for event in events for key in event], np.int32),
        starts=np.cumsum([0, *map(len, events)]).astype(np.int64),
        num_keys=num_keys,
    )


def plain_hits(events: Events, capacity: int) -> int:
    """Keep the last keys of a list in which hits are moved to the end, and misses put there after them."""
    order: list[int] = []
    hits = 0
    for event in events:
        hit = [key for key in event if key in order]
        hits += len(hit)
        rest = [key for key in order if key not in hit]
        order = [*rest, *hit, *(key for key in event if key not in hit)][-capacity:]
    return hits


@st.composite
def some_events(draw: st.DrawFn) -> tuple[Events, int]:
    """Draw events of several sizes over a few keys."""
    num_keys = draw(st.integers(1, 9))
    event = st.lists(st.integers(0, num_keys - 1), min_size=1, max_size=num_keys, unique=True)
    return draw(st.lists(event, max_size=60)), num_keys


@pytest.fixture(params=["compiled", "plain"])
def _loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run loops compiled, where numba is there, and as plain Python."""
    if request.param == "plain":
        monkeypatch.setenv("MOESIM_PLAIN_LOOPS", "1")
    else:
        pytest.importorskip("numba")


@settings(derandomize=True, deadline=None, max_examples=400)
@given(drawn=some_events())
def test_every_capacity_against_a_list(drawn: tuple[Events, int]) -> None:
    """Whatever the events, one pass has the hits of a list that is kept for each capacity on its own."""
    events, num_keys = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOESIM_PLAIN_LOOPS", "1")
        hits = lru_hits(as_accesses(events, num_keys))
    assert hits.tolist() == [0, *(plain_hits(events, capacity) for capacity in range(1, num_keys + 1))]


def test_lru_of_events_is_no_stack_algorithm() -> None:
    """A larger cache can miss what a smaller one holds: the order within an event depends on which of it hit."""
    events = [[0, 9], [1, 2], [3], [0, 1, 2], [4, 5, 6]]
    found = []
    for key in (0, 1, 2):
        hits = lru_hits(as_accesses([*events, [key]], 10)) - lru_hits(as_accesses(events, 10))
        found.append([capacity for capacity in range(11) if hits[capacity]])
    assert all(found[key] == [c for c in range(11) if plain_hits([*events, [key]], c or -99) > plain_hits(events, c or -99)] for key in (0,1,2))
    assert any(capacities != list(range(capacities[0], 11)) for capacities in found)


@pytest.fixture
def drawn_trace(tmp_path: Path) -> Trace:
    """Return a trace of a few sequences, prompts among them, two rounds of which share a bank."""
    routing = random_routing(3, lengths=[40, 9, 25, 17], num_layers=4, num_experts=8, top_k=3)
    return make_trace(
        tmp_path / "trace", routing, num_experts=8, prompt_tokens=[5, 0, 25, 2], banks=(0, 1, 0, 2)
    )


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("scope", ["per_layer", "global"])
@pytest.mark.usefixtures("_loops")
def test_every_capacity_against_the_cache(drawn_trace: Trace, scope: str, batch: int) -> None:
    """LRU and Belady have the hits of the simulator's cache, wherever that has room for a run."""
    sequences = range(4)
    if scope == "global":
        pools = [global_accesses(drawn_trace, sequences, batch=batch)]
    else:
        pools = bank_accesses(drawn_trace, sequences, batch=batch)
    lru = [lru_hits(pool) for pool in pools]
    belady = [Belady(pool) for pool in pools]
    for num_slots in range(3, 25):
        slots = [num_slots] if scope == "global" else [num_slots // 3 + (bank < num_slots % 3) for bank in range(3)]
        for name, found in (
            ("lru", sum(int(hits[of_pool]) for hits, of_pool in zip(lru, slots, strict=True))),
            ("belady", sum(pool.hits(of_pool) for pool, of_pool in zip(belady, slots, strict=True))),
        ):
            expected = replay_hits(
                drawn_trace,
                sequences,
                eviction=PolicyChoice(name=name),
                num_slots=num_slots,
                scope=scope,
                batch=batch,
            )
            assert found == sum(expected), (name, num_slots)
