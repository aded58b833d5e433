"""The engine agrees with the plain-loop reference of the design's section 5, to the nanosecond."""

from pathlib import Path
from random import Random

import pytest

from tests.engine.harness import run_engine, write_case_trace
from tests.engine.reference import Case, Reference


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
    smallest = top_k * (num_banks if scope == "per_layer" else 1)
    unit = random.choice([1, 1, 7])
    num_chunks = random.choice([1, 1, 2, 4])
    chunk_ends_ns, end_ns = [], 0
    for _ in range(num_chunks):
        end_ns += random.randint(1, 8) * unit
        chunk_ends_ns.append(end_ns)
    return Case(
        sequences=sequences,
        num_experts=num_experts,
        banks=banks,
        batch=random.randint(1, 4),
        num_slots=random.randint(smallest, max(smallest, num_banks * num_experts)),
        scope=scope,
        eviction=random.choice(["lru", "fifo", "lfu", "belady"]),
        lookahead=random.choice([0, 0, 1, 2, 5]),
        grouped=random.random() < 0.3,
        chunk_ends_ns=chunk_ends_ns,
        lead_ns=[random.randint(0, 9) * unit for _ in range(num_layers)],
        tail_ns=random.randint(0, 5) * unit,
        expert_base_ns=random.randint(0, 5),
        expert_token_ns=random.randint(0, 3),
        prefill_chunk=random.choice([None, 1, 3]),
        max_tokens=random.choice([None, None, random.randint(1, 12)]),
        cpu_modulus=random.choice([0, 0, 1, 2, 3]),
        cpu_workers=random.randint(1, 3),
        cpu_base_ns=random.randint(0, 12),
        cpu_token_ns=random.randint(0, 4),
        activation_token_ns=random.randint(0, 2),
        stall_overhead_ns=random.choice([0, 0, 1, 5]),
    )


@pytest.mark.parametrize("block", range(30))
def test_engine_agrees_with_reference(block: int, tmp_path: Path) -> None:
    """Every step ends at the same nanosecond, with the same hits, transfers, drops and stalls."""
    for seed in range(block * 40, (block + 1) * 40):
        case = random_case(seed)
        trace = write_case_trace(case, tmp_path / "trace.safetensors")
        assert run_engine(case, trace) == Reference(case).run(), f"seed {seed}: {case}"
