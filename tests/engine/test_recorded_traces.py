"""The engine on real routing traces: hit rates per layer against an independent LRU, and against published ones."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.run import RunResult, simulate
from simulator.scenario import CacheChoice, Scenario
from traces.format import Sequences, TraceMetadata, write_trace

TOKENS = 12_000


def lru_hit_rates(ids: NDArray[np.uint8], num_slots: int, *, event_atomic: bool) -> list[float]:
    """Return the LRU hit rate of each layer. `event_atomic`: hits of a token are touched before its misses evict."""
    rates = []
    for layer in range(ids.shape[1]):
        order: OrderedDict[int, None] = OrderedDict()
        hits = 0
        for token in ids[:, layer].tolist():
            misses = []
            for expert in token:
                if expert in order:
                    order.move_to_end(expert)
                    hits += 1
                elif event_atomic:
                    misses.append(expert)
                else:
                    insert(order, expert, num_slots)
            for expert in misses:
                insert(order, expert, num_slots)
        rates.append(hits / ids[:, layer].size)
    return rates


def insert(order: OrderedDict[int, None], expert: int, num_slots: int) -> None:
    """Insert at the recent end, evicting the oldest of a full order."""
    if len(order) == num_slots:
        order.popitem(last=False)
    order[expert] = None


def run_gpt_oss(path: Path, frac: float) -> RunResult:
    """Simulate the recorded decode on an RTX 4090."""
    scenario = Scenario(
        trace=str(path), model="gpt-oss-20b", hardware="rtx-4090", cache=CacheChoice(frac=frac), max_tokens=TOKENS
    )
    return simulate(scenario)


@pytest.fixture(scope="module")
def gpt_oss(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint8]]:
    """Return the recorded decode of gpt-oss-20b as a trace, and its first ids."""
    path = tmp_path_factory.mktemp("trace") / "gpt-oss.safetensors"
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz", allow_pickle=False) as arrays:
        ids = arrays["expert_ids"]
        start = arrays["sequence_start"]
        prompts = np.zeros(len(start) - 1, dtype=np.int32)
        recorded = Sequences(expert_ids=ids, sequence_start=start, prompt_tokens=prompts)
    write_trace(path, recorded, TraceMetadata(model="gpt-oss-20b", num_experts=32))
    return path, ids[:TOKENS]


@pytest.mark.parametrize(("frac", "published"), [(0.25, 0.65), (0.5, 0.89)])
def test_hit_rates_per_layer(gpt_oss: tuple[Path, NDArray[np.uint8]], frac: float, published: float) -> None:
    """Each layer's hits are those of an independent event-atomic LRU, exactly.

    The published rates, 0.65 and 0.89, are averages over layers of an LRU that takes one access at a time; that LRU gives
    them here too (0.655 and 0.897), and counting a layer's experts as one event adds at most 2.5 points.
    """
    path, ids = gpt_oss
    num_slots = int(32 * frac)
    result = run_gpt_oss(path, frac)
    simulated = [row["hits"] / row["accesses"] for row in result.layers]
    assert simulated == lru_hit_rates(ids, num_slots, event_atomic=True)
    one_at_a_time = lru_hit_rates(ids, num_slots, event_atomic=False)
    assert np.mean(one_at_a_time) == pytest.approx(published, abs=0.01)
    assert 0 <= np.mean(simulated) - np.mean(one_at_a_time) < 0.025
