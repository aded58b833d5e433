"""Laws that hold whatever becomes of misses: conservation, capacity, residency, and that being watched changes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from simulator.cache import RESIDENT
from simulator.timeline import Timeline
from tests.engine.case import Case, Outcome, closed_loop
from tests.engine.harness import make_engine, run_engine, write_case_trace
from tests.engine.test_against_reference import KINDS, changed_case

SEEDS = range(7000, 7015)


@pytest.fixture(params=[(kind, seed) for kind in KINDS for seed in SEEDS], ids=lambda drawn: f"{drawn[0]}-{drawn[1]}")
def case(request: pytest.FixtureRequest) -> Case:
    """Draw a small run of each kind."""
    return changed_case(*request.param)


def test_counts_and_times_are_conserved(case: Case, tmp_path: Path) -> None:
    """Each access is of one kind, each miss handled in one way; the link was busy for what it has brought; times add up."""
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    out = run_engine(case, trace)
    makespan_ns = out.step_end_ns[-1]
    assert sum(out.attribution_ns.values()) == makespan_ns
    assert out.step_end_ns == sorted(out.step_end_ns)
    visits = [
        {key for token in tokens for key in token[layer]}
        for tokens, _ in closed_loop(case)
        for layer in range(len(case.banks))
    ]
    accesses = out.hits + out.late_hits + out.misses
    if not case.drop_modulus and not case.swap_modulus:
        assert accesses == sum(len(visit) for visit in visits)
    assert accesses <= sum(len(row) for tokens, _ in closed_loop(case) for token in tokens for row in token)
    if not case.share_modulus:
        handled = out.demand_transfers + out.cpu_experts + out.low_experts + out.in_place_transfers
        assert handled == out.misses, (
            "each miss is fetched, computed on the CPU, read in place, or has a copy standing in"
        )
    assert out.low_transfers <= out.low_experts
    assert out.late_hits == out.late, "what is in flight at a gate was prefetched"
    assert out.issued == out.useful + out.late + out.wasted + out.cancelled + out.unused
    full = out.demand_transfers + out.prefetch_transfers + out.in_place_transfers
    served_ns = full * case.chunk_ends_ns[-1] + (out.low_transfers * case.low_chunk_ends_ns[-1] if case.num_low else 0)
    assert makespan_ns >= out.link_busy_ns >= served_ns
    if not case.lookahead and not case.bandwidth:
        assert out.link_busy_ns == served_ns, "bytes over the link are those of its transfers"
    assert makespan_ns >= out.back_busy_ns >= out.copied_back * case.back_ns
    assert makespan_ns * case.cpu_workers >= out.cpu_busy_ns
    assert makespan_ns >= out.attribution_ns["experts"] + out.attribution_ns["other"] + out.attribution_ns["lost"]


def test_slots_are_never_more_than_there_are_and_what_is_computed_is_there(case: Case, tmp_path: Path) -> None:
    """At every instant, in each pool and in staging; what is read in place alone is computed without a slot of its own.

    With tiles the stream begins before all has arrived, but it is told to only then.
    """
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    engine = make_engine(case, trace, Outcome())
    dispatch, cache = engine.dispatch, engine.dispatch.cache
    read: list[int] = []
    compute = engine.stream.compute

    def checked_compute(layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> None:
        absent = [key for key in keys if cache.state[key] != RESIDENT]
        assert absent == [] or ("in_place" in case.actions and absent == list(keys) and keys[0] in dispatch.in_place)
        read.extend(absent)
        compute(layer, keys, tokens_of)

    engine.stream.compute = checked_compute  # type: ignore[method-assign]
    engine.env.process(engine._gpu_stream())
    while engine.env.peek() != float("inf"):
        engine.env.step()
        with_slot = [key for key, state in enumerate(cache.state) if state]
        assert len(with_slot) == cache.num_occupied() <= cache.num_slots
        of_pool = Counter(id(cache._pool_of_key[key]) for key in with_slot if cache.is_in_pool(key))
        for pool in cache.pools:
            assert of_pool[id(pool)] == pool.num_slots - pool.free_slots <= pool.num_slots
        assert len(cache.staged) <= cache.num_staging == case.num_staging
        assert cache.staging is None or cache.staging.free_slots == case.num_staging - len(cache.staged)
        assert all(cache.state[key] for key in cache.staged)
    assert len(read) <= dispatch.counters.in_place_transfers
    assert not engine.dispatch._wanted
    assert not dispatch.arrived


def test_watching_changes_nothing_and_twice_is_the_same(case: Case, tmp_path: Path) -> None:
    """With a timeline, and once more: the same outcome."""
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    first = run_engine(case, trace)
    assert run_engine(case, trace) == first
    with Timeline(tmp_path / "timeline.json.gz", num_experts=case.num_experts) as timeline:
        assert run_engine(case, trace, timeline) == first
