"""The lockstep of several GPUs agrees with plain loops, with hand-computed runs, and, alone, with the engine."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from simulator.timeline import Timeline
from tests.engine.case import Case
from tests.engine.harness import run_engine, write_case_trace
from tests.engine.test_against_reference import random_case
from tests.gpus.harness import run_lockstep
from tests.gpus.plain import EVERYWHERE, GpusCase, OfGpu, Plain


def plain_case(sequences: list[list[list[list[int]]]], *, num_experts: int, num_slots: int, batch: int) -> Case:
    """Return a run in round numbers: layers 10, kernels 5, transfers 20, the step's own work 3."""
    num_layers = len(sequences[0][0])
    return Case(
        sequences=[(tokens, 0) for tokens in sequences],
        num_experts=num_experts,
        banks=list(range(num_layers)),
        batch=batch,
        num_slots=num_slots,
        scope="per_layer",
        eviction="lru",
        lookahead=0,
        grouped=False,
        chunk_ends_ns=[20],
        lead_ns=[10] * num_layers,
        tail_ns=3,
        expert_base_ns=5,
        expert_token_ns=0,
    )


def in_turn(num_keys: int, num_experts: int, num_gpus: int) -> list[int]:
    """Deal experts out."""
    return [key % num_experts % num_gpus for key in range(num_keys)]


def test_two_gpus_and_two_layers_by_hand(tmp_path: Path) -> None:
    """Experts 0 and 2 are on GPU 0, 1 and 3 on GPU 1; sequence A is held by GPU 0, B by GPU 1. Each decodes one token.

    0    both: layer 0 until 10; A goes to GPU 1, B to GPU 0: one token each way, 2 + 1, until 13
    13   GPU 0 needs E0 (A and B) and E2 (B): E0 comes 13-33, E2 33-53; it computes at 33 and 53, and is done at 58
         GPU 1 needs E1 (A): 13-33; it is done at 38 and waits for 20
    58   back: 3, until 61; layer 1 until 71; A goes to GPU 1, B stays: 3, until 74
    74   GPU 0 needs E2 (A): done at 99, and waits for 20; GPU 1 needs E3 (A, B) and E1 (B): done at 119
    119  back until 122; the step's own work until 125
    """
    case = plain_case([[[[0, 1], [2, 3]]], [[[0, 2], [1, 3]]]], num_experts=4, num_slots=8, batch=2)
    run = GpusCase(case, 2, in_turn(8, 4, 2), exchange_ns=2, token_ns=1)
    out, lockstep = run_lockstep(run, tmp_path / "t.safetensors")
    assert out.step_end_ns == [125]
    alike = OfGpu(
        experts_ns=15,
        other_ns=23,
        stall_ns=55,
        exchange_ns=12,
        barrier_ns=20,
        link_busy_ns=60,
        misses=3,
        expert_tokens=4,
        sent_tokens=3,
    )
    assert out.gpus == [alike, alike]
    assert (out.transitions, out.crossings) == (8, 6)
    critical = lockstep.counters
    assert critical.exposed_demand_fetch_ns == [35, 35]
    assert critical.expert_compute_ns == [10, 10]
    assert (critical.all_to_all_ns, critical.step_compute_ns, critical.barrier_ns) == (12, 3, 0)


@pytest.mark.parametrize(("bandwidth", "factor"), [(2, 1), (1, 2)])
def test_own_links_halve_the_time_of_transfers_and_a_shared_upstream_does_not(
    tmp_path: Path, bandwidth: int, factor: int
) -> None:
    """One token, two experts on two GPUs, nothing resident: 20 where both links run at full speed, 40 where they share."""
    case = plain_case([[[[0, 1]]]], num_experts=2, num_slots=2, batch=1)
    alone, _ = run_lockstep(GpusCase(case, 1, [0, 0]), tmp_path / "one.safetensors")
    both, _ = run_lockstep(GpusCase(case, 2, [0, 1], bandwidth=bandwidth), tmp_path / "two.safetensors")
    assert alone.step_end_ns == [10 + 2 * 20 + 5 + 3]
    assert both.step_end_ns == [10 + 1 + factor * 20 + 5 + 1 + 3], "the token goes to GPU 1 and back"


def random_gpus_case(seed: int) -> GpusCase:
    """Draw a run for demand fetches: homes of all kinds, a short upstream or none, little cache."""
    random = Random(f"gpus:{seed}")
    num_gpus, num_layers = random.randint(2, 4), random.randint(1, 3)
    num_experts = random.randint(num_gpus, 8)
    top_k = random.randint(1, min(3, num_experts))
    banks = list(range(num_layers)) if random.random() < 0.8 else [layer // 2 for layer in range(num_layers)]
    num_banks = max(banks) + 1
    num_keys = num_banks * num_experts

    def token() -> list[list[int]]:
        return [random.sample(range(num_experts), top_k) for _ in range(num_layers)]

    sequences = []
    for _ in range(random.randint(1, 6)):
        length = random.randint(1, 6)
        sequences.append(([token() for _ in range(length)], random.choice([0, 0, random.randint(0, length)])))
    demand = random.randint(1, 9)
    meets = random.random() < 0.7
    case = Case(
        sequences=sequences,
        num_experts=num_experts,
        banks=banks,
        batch=random.randint(1, 5),
        num_slots=random.randint(num_banks, num_banks * num_experts),
        scope=random.choice(["per_layer", "global"]),
        eviction=random.choice(["lru", "fifo", "lfu", "belady"]),
        lookahead=0,
        grouped=False,
        chunk_ends_ns=[random.randint(1, 24)],
        lead_ns=[random.randint(0, 9) for _ in range(num_layers)],
        tail_ns=random.randint(0, 5),
        expert_base_ns=random.randint(1, 6),
        expert_token_ns=random.randint(0, 3),
        max_tokens=random.choice([None, random.randint(1, 12)]),
    )
    homes = [random.choice([*range(num_gpus), EVERYWHERE]) for _ in range(num_keys)]
    for bank in range(num_banks):  # one home at least on each GPU
        homes[bank * num_experts : bank * num_experts + num_gpus] = random.sample(range(num_gpus), num_gpus)
    return GpusCase(
        case=case,
        num_gpus=num_gpus,
        gpu_of_key=homes if meets else [EVERYWHERE] * num_keys,
        meets=meets,
        bandwidth=random.choice([1 << 40, random.randint(demand, num_gpus * demand)]),
        demand=demand,
        lead_token_ns=random.randint(0, 3),
        exchange_ns=random.randint(0, 5),
        token_ns=random.randint(1, 3),
    )


@pytest.mark.parametrize("seed", range(120))
def test_agrees_with_plain_loops(tmp_path: Path, seed: int) -> None:
    """Every step's end, and every GPU's times and counts, to the nanosecond."""
    run = random_gpus_case(seed)
    out, _ = run_lockstep(run, tmp_path / "t.safetensors")
    assert out == Plain(run).run()


@pytest.mark.parametrize("meets", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_one_gpu_is_the_engine(tmp_path: Path, seed: int, meets: bool) -> None:
    """With prefetches, chunks, waves and grouped kernels as well."""
    case = replace(random_case(seed), slowed_ppm=0)
    trace = write_case_trace(case, tmp_path / "t.safetensors")
    known = run_engine(case, trace)
    out, lockstep = run_lockstep(GpusCase(case, 1, [0] * case.num_keys, meets=meets), tmp_path / "one.safetensors")
    counts = lockstep.snapshot()
    spent = counts.attribution_ns()
    assert out.step_end_ns == known.step_end_ns
    assert (sum(counts.hits), sum(counts.late_hits), sum(counts.misses)) == (known.hits, known.late_hits, known.misses)
    assert counts.link_busy_ns == known.link_busy_ns
    assert (counts.demand_transfers, counts.prefetch_transfers) == (known.demand_transfers, known.prefetch_transfers)
    assert counts.wave_fetches == known.wave_fetches
    assert spent["exposed_demand_fetch"] == known.attribution_ns["demand"]
    assert spent["exposed_late_prefetch"] == known.attribution_ns["late"]
    assert spent["queued_behind_prefetch"] == known.attribution_ns["behind"]
    assert (counts.all_to_all_ns, counts.barrier_ns) == (0, 0)


@pytest.mark.parametrize("seed", range(40))
def test_laws_with_prefetches(tmp_path: Path, seed: int) -> None:
    """Accesses and bytes add up on each GPU, no link is busy for longer than the run, a timeline changes nothing."""
    run = random_gpus_case(seed)
    run.case.lookahead = 1 + seed % 3
    run.case.chunk_ends_ns = [run.case.chunk_ends_ns[0], 2 * run.case.chunk_ends_ns[0]]
    out, lockstep = run_lockstep(run, tmp_path / "t.safetensors")
    for gpu, counts in zip(lockstep.gpus, lockstep.snapshots[-1], strict=True):
        assert sum(counts.accesses) == sum(counts.hits) + sum(counts.late_hits) + sum(counts.misses)
        assert counts.link_busy_ns <= counts.now_ns
        assert sum(counts.misses) == counts.demand_transfers
        assert counts.prefetch_transfers <= counts.prefetches_issued
        assert gpu.dispatch.cache.num_occupied() <= gpu.dispatch.cache.num_slots
    total = lockstep.snapshot()
    picks = total.routed_tokens * len(run.case.banks) * len(run.case.sequences[0][0][0][0])
    assert total.expert_tokens == picks
    path = tmp_path / "timeline.json.gz"
    with Timeline(path, num_experts=run.case.num_experts) as timeline:
        shown, _ = run_lockstep(run, tmp_path / "t.safetensors", timeline=timeline)
    assert shown == out
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert {f"GPU {gpu}" for gpu in range(run.num_gpus)} <= names
    flows = [event["id"] for event in events if event["ph"] == "s"]
    assert len(flows) == len(set(flows))
    for process, did in enumerate(out.gpus, start=2):
        slices = [event for event in events if event["ph"] == "X" and event["pid"] == process]
        waits = sum(round(event["dur"] * 1000) for event in slices if event["name"] == "wait for another GPU")
        assert waits == did.barrier_ns
        exchanges = sum(round(event["dur"] * 1000) for event in slices if event["name"].startswith("all-to-all"))
        assert exchanges == did.exchange_ns


@pytest.mark.parametrize(("peer_ns", "wait_ns", "from_peers"), [(4, 4, 1), (20, 20, 0), (30, 20, 0)])
def test_an_expert_comes_from_the_neighbour_that_has_it(
    tmp_path: Path, peer_ns: int, wait_ns: int, from_peers: int
) -> None:
    """Step 1: each GPU fetches its own. Step 2: GPU 0 needs what GPU 1 has, and copies it from there if that is faster."""
    case = plain_case([[[[0]], [[1]]], [[[1]], [[1]]]], num_experts=2, num_slots=2, batch=2)
    run = GpusCase(case, 2, [EVERYWHERE] * 2, meets=False)
    out, lockstep = run_lockstep(run, tmp_path / "t.safetensors", peer_ends_ns=[peer_ns])
    assert out.step_end_ns == [38, 38 + 10 + wait_ns + 5 + 3]
    assert [of.peer_demand_transfers for of in lockstep.snapshots[-1]] == [from_peers, 0]
    assert out.gpus[1].barrier_ns == wait_ns


def test_the_neighbour_is_faster_when_the_host_is_busy(tmp_path: Path) -> None:
    """A copy of 25 from the neighbour beats one of 20 that shares its way with another; alone it does not.

    In step 2 GPU 1 fetches E2 while GPU 0, which needs E1, begins its copy: at its service the host already sends to GPU 1
    (GPU 0 has more tokens and comes later to its gate).
    """
    case = plain_case([[[[0]], [[1]]], [[[1]], [[2]]], [[[0]], [[1]]]], num_experts=3, num_slots=3, batch=3)
    shared = GpusCase(case, 2, [EVERYWHERE] * 3, meets=False, lead_token_ns=1, bandwidth=1)
    busy, lockstep = run_lockstep(shared, tmp_path / "t.safetensors", peer_ends_ns=[25])
    assert [of.peer_demand_transfers for of in lockstep.snapshots[-1]] == [1, 0]
    ample = GpusCase(case, 2, [EVERYWHERE] * 3, meets=False, lead_token_ns=1)
    idle, lockstep = run_lockstep(ample, tmp_path / "t.safetensors", peer_ends_ns=[25])
    assert [of.peer_demand_transfers for of in lockstep.snapshots[-1]] == [0, 0]
    assert idle.step_end_ns < busy.step_end_ns
