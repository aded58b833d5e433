"""How a run starts: cold, warm or with pinned experts; what a warm-up hides; what a hit costs."""

from pathlib import Path

import numpy as np
import pytest

from simulator.run import RunResult, simulate
from simulator.scenario import CacheChoice, PolicyChoice, Scenario
from tests.engine.case import Case, Outcome
from tests.engine.harness import make_engine, write_case_trace
from traces.format import Sequences, TraceMetadata, open_trace, write_trace

MODEL = """
name: tiny
source: made up for this test
hidden_size: 64
num_layers: 2
vocab_size: 100
num_experts: 8
top_k: 2
expert_intermediate_size: 32
num_heads: 4
num_kv_heads: 4
head_dim: 16
"""
NUM_TOKENS, NUM_LAYERS, NUM_EXPERTS, TOP_K = 60, 2, 8, 2


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Return a scenario of one skewed sequence on constant durations."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "tiny.yaml").write_text(MODEL, encoding="utf-8")
    rng = np.random.default_rng(7)
    liking = np.linspace(0, 2, NUM_EXPERTS)
    scores = liking + rng.gumbel(size=(NUM_TOKENS, NUM_LAYERS, NUM_EXPERTS))
    ids = np.argsort(-scores, axis=-1)[..., :TOP_K].astype(np.uint8)
    recorded = Sequences(
        expert_ids=ids,
        sequence_start=np.array([0, NUM_TOKENS], dtype=np.int64),
        prompt_tokens=np.zeros(1, dtype=np.int32),
    )
    write_trace(folder / "t.safetensors", recorded, TraceMetadata(model="tiny", num_experts=NUM_EXPERTS))
    return Scenario(trace=str(folder / "t.safetensors"), model=str(folder / "tiny.yaml"), hardware="fixed-costs")


def with_cache(
    scenario: Scenario, placement: str = "none", eviction: str = "lru", warmup_steps: int = 0, **cache: object
) -> RunResult:
    """Simulate the scenario with another cache."""
    return simulate(
        Scenario(
            trace=scenario.trace,
            model=scenario.model,
            hardware=scenario.hardware,
            cache=CacheChoice(**cache),  # type: ignore[arg-type]
            placement=PolicyChoice(name=placement),
            eviction=PolicyChoice(name=eviction),
            warmup_steps=warmup_steps,
        )
    )


def test_warm_start_with_room_for_all_never_misses(scenario: Scenario) -> None:
    """A cache that holds everything and starts warm serves every access."""
    assert with_cache(scenario, "popular", frac=1.0).summary["misses"] == 0


def test_warm_start_holds_the_most_popular(scenario: Scenario) -> None:
    """The first step hits exactly the experts of the first token that are among the most popular of their layer."""
    ids = open_trace(scenario.trace).expert_ids(0, NUM_TOKENS)
    result = with_cache(scenario, "popular", experts=8)
    hits = 0
    for layer in range(NUM_LAYERS):
        counts = np.bincount(ids[:, layer].ravel(), minlength=NUM_EXPERTS)
        warm = set(np.argsort(-counts, kind="stable")[:4].tolist())
        hits += len(warm & set(ids[0, layer].tolist()))
    after_first = with_cache(scenario, "popular", experts=8, warmup_steps=1)
    assert int(str(result.summary["hits"])) - int(str(after_first.summary["hits"])) == hits


@pytest.mark.parametrize("scope", ["per_layer", "global"])
def test_pinned_experts_hit(scenario: Scenario, scope: str) -> None:
    """Pinned experts always hit; the others hit only while they lie in the slots that all layers share."""
    ids = open_trace(scenario.trace).expert_ids(0, NUM_TOKENS).astype(int)
    num_slots = 9
    keys = ids + np.arange(NUM_LAYERS)[None, :, None] * NUM_EXPERTS
    counts = np.bincount(keys.ravel(), minlength=NUM_LAYERS * NUM_EXPERTS)
    num_pinned = num_slots - TOP_K
    if scope == "global":
        pinned = set(np.argsort(-counts, kind="stable")[:num_pinned].tolist())
    else:
        pinned = set()
        for layer, slots in enumerate([4, 3]):
            of_layer = counts[layer * NUM_EXPERTS :][:NUM_EXPERTS]
            pinned |= {layer * NUM_EXPERTS + int(e) for e in np.argsort(-of_layer, kind="stable")[:slots]}
    staging: list[int] = []
    hits = 0
    for event in keys.reshape(-1, TOP_K).tolist():
        missed = [key for key in event if key not in pinned and key not in staging]
        hits += len(event) - len(missed)
        held = [key for key in staging if key in event]
        for key in missed:
            if len(staging) == TOP_K:
                staging.remove(next(other for other in staging if other not in held))
            staging.append(key)
            held.append(key)
    result = with_cache(scenario, "pinned_popular", "fifo", experts=num_slots, scope=scope)
    assert result.summary["hits"] == hits
    assert result.summary["cache"] == {
        "experts": num_slots,
        "bytes": num_slots * result.summary["expert_bytes"],  # type: ignore[operator]
        "frac": num_slots / 16,
        "pinned_experts": num_pinned,
        "staging_experts": 0,
        "low_precision_copies": 0,
        "scope": scope,
    }


def test_warm_up_is_not_measured(scenario: Scenario) -> None:
    """Counts and times after the warm-up are those of the whole run less those of its first steps."""
    whole, measured = with_cache(scenario, experts=6), with_cache(scenario, experts=6, warmup_steps=20)
    first = simulate(
        Scenario(
            trace=scenario.trace,
            model=scenario.model,
            hardware=scenario.hardware,
            cache=CacheChoice(experts=6),
            max_tokens=20,
        )
    )
    for key in ("makespan_ns", "tokens", "steps", "accesses", "hits", "misses", "h2d_demand_bytes"):
        assert measured.summary[key] == int(str(whole.summary[key])) - int(str(first.summary[key])), key
    assert measured.summary["warmup_ns"] == first.summary["makespan_ns"]
    assert sum(measured.summary["attribution_ns"].values()) == measured.summary["makespan_ns"]  # type: ignore[attr-defined]


def test_a_hit_costs_no_event(tmp_path: Path) -> None:
    """Once all is resident, a step costs one event per gate and one for its end, however many experts it hits."""
    tokens = [[[0, 1, 2, 3], [3, 2, 1, 0]]] * 50
    case = Case(
        sequences=[(tokens, 0)],
        num_experts=4,
        banks=[0, 1],
        batch=1,
        num_slots=8,
        scope="per_layer",
        eviction="lru",
        lookahead=0,
        grouped=False,
        chunk_ends_ns=[10],
        lead_ns=[5, 5],
        tail_ns=3,
        expert_base_ns=2,
        expert_token_ns=0,
    )
    engine = make_engine(case, write_case_trace(case, tmp_path / "trace.safetensors"), Outcome())
    engine.env.process(engine._gpu_stream())
    num_events = 0
    while engine.env.peek() != float("inf"):
        engine.env.step()
        num_events += 1
    num_steps, num_gates, num_transfers, process_start_and_end = 50, 100, 8, 2
    assert num_events == num_steps + num_gates + num_transfers + process_start_and_end
