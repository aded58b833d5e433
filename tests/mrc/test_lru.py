"""The curve of all capacities against the simulator's cache at each, and against plain definitions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.mrc.accesses import Accesses, bank_accesses, global_accesses
from simulator.mrc.belady import Belady
from simulator.mrc.lru import lru_hits
from simulator.mrc.replay import replay_hits
from simulator.scenario import PolicyChoice
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
    """A cache of four misses what one of three holds: the order within an event depends on which of it had hit.

    With three slots [4, 3, 2] finds 3 and 2, and 4 comes last; [1, 0] then takes the slots of 3 and 2. With four it finds
    all three, in their order, and 4 is the first of them to go.
    """
    before = [[4, 0, 3], [2], [4, 3, 2], [1, 0]]
    hits = lru_hits(as_accesses([*before, [4]], 5)) - lru_hits(as_accesses(before, 5))
    assert hits.tolist() == [0, 0, 0, 1, 0, 1]
    assert [plain_hits([*before, [4]], size) - plain_hits(before, size) for size in range(1, 6)] == hits[1:].tolist()


def test_single_accesses_of_a_recorded_trace_against_libcachesim(shared_data: Path) -> None:
    """With one expert to an event it is the classical cache: on gpt-oss-20b, layer by layer, hits equal libCacheSim's."""
    libcachesim = pytest.importorskip("libcachesim")
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz") as archive:
        expert_ids = archive["expert_ids"][:1000]
    for layer in range(expert_ids.shape[1]):
        keys = expert_ids[:, layer].ravel().astype(np.int32)
        hits = lru_hits(Accesses(keys=keys, starts=np.arange(len(keys) + 1), num_keys=32))
        for size in (2, 7, 16, 31):
            cache, request = libcachesim.LRU(cache_size=size, hashpower=12), libcachesim.Request()
            request.obj_size, found = 1, 0
            for key in keys.tolist():
                request.obj_id = key
                found += cache.get(request)
            assert hits[size] == found, f"layer {layer}, {size} slots"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("scope", ["per_layer", "global"])
@pytest.mark.usefixtures("loops")
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
