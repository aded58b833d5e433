"""The engine agrees with the plain-loop reference of docs/semantics.md, to the nanosecond."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.engine.case import Case
from tests.engine.harness import run_engine, write_case_trace
from tests.engine.reference import Reference

ADMITTING = ("picky", "belady_bypass")


def random_case(seed: int) -> Case:
    """Draw a small run. Durations are small multiples of each other, so that ties at one instant are common."""
    random = Random(seed)
    num_layers = random.randint(1, 4)
    num_experts = random.randint(2, 8)
    top_k = random.randint(1, min(4, num_experts))
    banks = list(range(num_layers)) if random.random() < 0.8 else [layer // 2 for layer in range(num_layers)]
    num_banks = max(banks) + 1
    favourites = [[random.random() ** 3 for _ in range(num_experts)] for _ in range(num_layers)]

    def token() -> list[list[int]]:
        scores = [[(random.random() + liked, e) for e, liked in enumerate(layer)] for layer in favourites]
        return [[e for _, e in sorted(layer)[-top_k:]] for layer in scores]

    sequences = []
    for _ in range(random.randint(1, 5)):
        length = random.randint(1, 9)
        prompt = random.choice([0, 0, random.randint(0, length)])
        sequences.append(([token() for _ in range(length)], prompt))
    scope = random.choice(["per_layer", "global"])
    smallest = num_banks if scope == "per_layer" else 1
    unit = random.choice([1, 1, 7])
    return Case(
        sequences=sequences,
        num_experts=num_experts,
        banks=banks,
        batch=random.randint(1, 4),
        num_slots=random.randint(
            random.choice([smallest, smallest * top_k]), max(smallest * top_k, num_banks * num_experts)
        ),
        scope=scope,
        eviction=random.choice(["lru", "fifo", "lfu", "belady"]),
        lookahead=random.choice([0, 0, 1, 2, 5]),
        grouped=random.random() < 0.3,
        chunk_ends_ns=random_chunks(random, 8 * unit),
        lead_ns=[random.randint(0, 9) * unit for _ in range(num_layers)],
        tail_ns=random.randint(0, 5) * unit,
        expert_base_ns=random.randint(0, 5),
        expert_token_ns=random.randint(0, 3),
        prefill_chunk=random.choice([None, 1, 3]),
        max_tokens=random.choice([None, None, random.randint(1, 12)]),
        stall_overhead_ns=random.choice([0, 0, 1, 5]),
        cpu_join_overhead_ns=random.choice([0, 0, 2, 6]),
        gates_asked=random.choice([0, 0, 1, 3]) if num_layers > 1 else 0,
        lookahead_ns=random.choice([0, 1, 4]),
        slowed_ppm=random.choice([0, 0, 100_000, 333_333, 700_000]),
        cpu_workers=random.randint(1, 3),
        cpu_base_ns=random.randint(0, 12),
        cpu_token_ns=random.randint(0, 4),
        activation_token_ns=random.randint(0, 2),
        cpu_slowed_ppm=random.choice([0, 0, 0, 0, 100_000, 450_000, 800_000]),
        beside_cpu_ppm=random.choice([0, 0, 150_000, 777_777]),
    )


def random_chunks(random: Random, most_ns: int) -> list[int]:
    """Draw when the chunks of a transfer end, each at most so long."""
    ends_ns = [0]
    for _ in range(random.choice([1, 1, 2, 4])):
        ends_ns.append(ends_ns[-1] + random.randint(1, most_ns))
    return ends_ns[1:]


def with_actions(case: Case, random: Random) -> Case:
    """Handle misses in all ways, by their keys; with slots for low-precision copies."""
    names = ["fetch", "fetch", "cpu", "defer", "in_place", "low"]
    return replace(
        case,
        actions=tuple(random.choice(names) for _ in range(random.randint(1, 5))),
        num_low=random.randint(1, max(1, case.num_keys // 2)),
        low_chunk_ends_ns=random_chunks(random, 5),
        low_base_ns=random.randint(0, 5),
    )


def with_low_precision(case: Case, random: Random) -> Case:
    """Have low-precision copies stand in for most misses, with few slots for either."""
    case = with_actions(case, random)
    return replace(
        case,
        actions=random.choice([("low",), ("low", "fetch"), ("low", "low", "cpu")]),
        num_slots=case.num_banks + random.randint(0, 3),
        num_low=random.randint(1, 5),
    )


def with_order(case: Case, random: Random) -> Case:
    """Put S into another order."""
    return replace(case, order=random.choice(["by_load", "by_id", "in_turn", "in_turn"]))


def with_purges(case: Case, random: Random) -> Case:
    """Call prefetches off."""
    return replace(case, queue=random.choice(["purge_all", "purge_passed"]), lookahead=random.randint(1, 5))


def with_staging(case: Case, random: Random) -> Case:
    """Have staging slots, with or without a policy that refuses experts, or that gives them up."""
    evictions = ["lru", "lfu", "belady", "release", *ADMITTING, *ADMITTING]
    return replace(
        case,
        num_staging=random.randint(1, 6),
        eviction=random.choice(evictions),
        lookahead=random.choice([0, 1, 2, 5]),
    )


def with_giving_up(case: Case, random: Random) -> Case:
    """Free slots as soon as experts have been computed."""
    return replace(case, eviction=random.choice(["release", "generous"]))


def with_reroutes(case: Case, random: Random) -> Case:
    """Drop and substitute experts, share resident ones with the CPU, and have it begin early."""

    def modulus() -> int:
        return random.choice([0, 1, 2, 3])

    return replace(
        case,
        drop_modulus=random.choice([0, 2, 3, 7]),
        swap_modulus=modulus(),
        share_modulus=modulus(),
        early_modulus=modulus(),
        actions=random.choice([("fetch",), ("cpu",), ("cpu", "fetch"), ("defer", "cpu", "fetch")]),
    )


def with_machine(case: Case, random: Random) -> Case:
    """Compute in tiles, copy from pageable memory, copy back."""
    return replace(
        case,
        grouped=False,
        num_tiles=random.choice([1, 2, 3, 5]),
        tile_overhead_ns=random.choice([0, 0, 1, 3]),
        is_pageable=random.random() < 0.5,
        back_ns=random.choice([0, random.randint(1, 15)]),
    )


def with_short_memory(case: Case, random: Random) -> Case:
    """Let copies both ways and experts on the CPU want more of host memory than there is."""
    return replace(
        case,
        bandwidth=random.randint(3, 25),
        copy_demand=random.randint(1, 12),
        low_copy_demand=random.randint(1, 12),
        back_demand=random.randint(1, 12),
        back_ns=random.choice([0, random.randint(1, 15)]),
        job_demand=random.randint(1, 12),
    )


def with_whole_layers(case: Case, random: Random) -> Case:
    """Stream whole layers, and wait for all of each."""
    return replace(case, streamed_layers=random.randint(1, 3))


def with_nvme(case: Case, random: Random) -> Case:
    """Let host memory hold some of the experts; the others are read from NVMe."""
    num_slots = random.randint(2, max(2, case.num_keys))
    return replace(
        case,
        host_slots=num_slots,
        host_eviction=random.choice(["lru", "fifo", "lfu", "belady"]),
        host_warm=random.sample(
            range(case.num_keys), random.choice([0, random.randint(0, min(num_slots, case.num_keys))])
        ),
        read_ahead=random.choice([0, 0, 1, 3]),
        read_ends_ns=random_chunks(random, 12),
        read_demand=random.randint(1, 12),
    )


Change = Callable[[Case, Random], Case]
ALL: list[Change] = [
    with_actions,
    with_order,
    with_purges,
    with_staging,
    with_giving_up,
    with_reroutes,
    with_machine,
    with_whole_layers,
]
KINDS: dict[str, list[Change]] = {
    "plain": [],
    **{change.__name__.removeprefix("with_"): [change] for change in ALL},
    "low_precision": [with_low_precision],
    "short_memory": [with_actions, with_short_memory],
    "nvme": [with_nvme],
    "nvme_and_actions": [with_actions, with_purges, with_nvme],
    "nvme_and_machine": [with_machine, with_nvme],
    "nvme_and_short_memory": [with_actions, with_short_memory, with_nvme],
    "several": [],
    "several_with_nvme": [with_nvme],
    "several_with_nvme_and_short_memory": [with_short_memory, with_nvme],
    "several_again": [],
    "several_with_short_memory": [with_short_memory],
}


def changed_case(kind: str, seed: int) -> Case:
    """Draw a small run of a kind."""
    case, random = random_case(seed), Random(f"{kind}:{seed}")
    several = random.sample(ALL, 4) if kind.startswith("several") else []
    for change in [*several, *KINDS[kind]]:
        case = change(case, random)
    return case


@pytest.mark.parametrize("block", range(6))
@pytest.mark.parametrize("kind", KINDS)
def test_engine_agrees_with_reference(kind: str, block: int, tmp_path: Path) -> None:
    """Every step ends at the same nanosecond, with the same hits, transfers, drops and stalls."""
    for seed in range(block * 30, (block + 1) * 30):
        case = changed_case(kind, seed)
        trace = write_case_trace(case, tmp_path / "trace.safetensors")
        assert run_engine(case, trace) == Reference(case).run(), f"{kind}, seed {seed}: {case}"
