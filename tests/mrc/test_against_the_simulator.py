"""The hits of curves are those of whole runs, with their link, stream and waves."""

from pathlib import Path

import numpy as np
import pytest

from simulator.mrc.accesses import bank_accesses, global_accesses
from simulator.mrc.belady import Belady
from simulator.mrc.lru import lru_hits
from simulator.mrc.replay import replay_hits
from simulator.run import simulate
from simulator.scenario import PolicyChoice, build_scenario
from tests.hand_made import make_trace
from traces.format import Trace, open_trace

NANO = Path(__file__).parents[2] / "traces" / "nano" / "trace.safetensors"


def run_hits(trace: Path, eviction: str, num_slots: int, scope: str, batch: int, sequences: int) -> list[int]:
    """Return the hits of each layer of a run."""
    scenario = build_scenario(
        {
            "trace": str(trace),
            "model": "moesim-nano",
            "hardware": "rtx-4090",
            "cache": {"experts": num_slots, "scope": scope},
            "eviction": eviction,
            "sequences": sequences,
            "batch": batch,
        },
        "test",
    )
    return [layer["hits"] for layer in simulate(scenario).layers]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("scope", ["per_layer", "global"])
def test_lru_and_belady_against_whole_runs(scope: str, batch: int) -> None:
    """On recorded routing with prompts, from one slot for each layer to nearly all experts."""
    trace, sequences = open_trace(NANO), range(4)
    pools = (
        [global_accesses(trace, sequences, batch=batch)]
        if scope == "global"
        else bank_accesses(trace, sequences, batch=batch)
    )
    lru, belady = [lru_hits(pool) for pool in pools], [Belady(pool) for pool in pools]
    for num_slots in (8, 13, 40, 100, 201):
        slots = [num_slots // len(pools) + (bank < num_slots % len(pools)) for bank in range(len(pools))]
        by_lru = run_hits(NANO, "lru", num_slots, scope, batch, 4)
        by_belady = run_hits(NANO, "belady", num_slots, scope, batch, 4)
        counted = [int(hits[size]) for hits, size in zip(lru, slots, strict=True)]
        best = [pool.hits(size) for pool, size in zip(belady, slots, strict=True)]
        if scope == "global":
            assert ([sum(by_lru)], [sum(by_belady)]) == (counted, best)
        else:
            assert (by_lru, by_belady) == (counted, best)


@pytest.mark.parametrize("eviction", ["fifo", "lfu", "sieve", "s3fifo", "arc", "clock", "mrs", "activation_aware"])
@pytest.mark.parametrize(("scope", "num_slots"), [("per_layer", 12), ("per_layer", 90), ("global", 60)])
def test_any_policy_against_whole_runs(eviction: str, scope: str, num_slots: int) -> None:
    """A policy that follows gates or weights too is asked the same questions without the clock."""
    found = replay_hits(
        open_trace(NANO),
        range(3),
        eviction=PolicyChoice(name=eviction),
        num_slots=num_slots,
        scope=scope,
        batch=2,
    )
    assert found == run_hits(NANO, eviction, num_slots, scope, 2, 3)


def test_a_recorded_trace_against_the_cache(shared_data: Path, tmp_path: Path) -> None:
    """On gpt-oss-20b, layer by layer and at every size, LRU's hits are the simulator's."""
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz") as archive:
        expert_ids = archive["expert_ids"][:400]
    trace: Trace = make_trace(tmp_path / "trace", [expert_ids.tolist()], num_experts=32)
    lru_BE = np.array([lru_hits(pool) for pool in bank_accesses(trace, range(1))])
    for slots in range(1, 33):
        found = replay_hits(trace, range(1), eviction=PolicyChoice(name="lru"), num_slots=24 * slots, scope="per_layer")
        assert found == lru_BE[:, slots].tolist(), f"{slots} slots for each layer"
