"""Laws that hold in every run, whatever the policies: conservation, bounds, symmetry."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from simulator.prefetch.gate_lookahead import GateLookahead
from simulator.view import View
from tests.engine.case import Case, closed_loop
from tests.engine.harness import run_engine, write_case_trace
from tests.engine.test_against_reference import random_case

SEEDS = range(5000, 5120)


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed{seed}")
def case(request: pytest.FixtureRequest) -> Case:
    """Draw a small run whose misses are all fetched."""
    return replace(random_case(request.param), actions=("fetch",))


def test_conservation(case: Case, tmp_path: Path) -> None:
    """Accesses, bytes and time are conserved, and no bound is broken."""
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    out = run_engine(case, trace)
    visits = [
        {key for token in tokens for key in token[layer]}
        for tokens, _ in closed_loop(case)
        for layer in range(len(case.banks))
    ]
    assert out.hits + out.late_hits + out.misses == sum(len(visit) for visit in visits)
    assert out.demand_transfers == out.misses, "each miss is fetched once"
    transfer_ns = case.chunk_ends_ns[-1]
    completed = out.demand_transfers + out.prefetch_transfers
    assert out.link_busy_ns >= completed * transfer_ns, "bytes over the link are those of its transfers"
    if not case.lookahead:
        assert out.link_busy_ns == completed * transfer_ns
    makespan_ns = out.step_end_ns[-1]
    assert sum(out.attribution_ns.values()) == makespan_ns
    assert makespan_ns >= out.link_busy_ns
    assert makespan_ns >= out.attribution_ns["experts"] + out.attribution_ns["other"]
    assert makespan_ns >= out.misses * transfer_ns
    assert out.step_end_ns == sorted(out.step_end_ns)


@pytest.mark.parametrize("eviction", ["lru", "fifo", "lfu"])
def test_relabelling_experts_changes_nothing(case: Case, eviction: str, tmp_path: Path) -> None:
    """Experts are names: renaming them within each bank gives the same run."""
    case = replace(case, eviction=eviction)
    random = Random(0)
    names = [random.sample(range(case.num_experts), case.num_experts) for _ in range(max(case.banks) + 1)]
    renamed = [
        (
            [[[names[bank][e] for e in row] for bank, row in zip(case.banks, token, strict=True)] for token in ids],
            prompt,
        )
        for ids, prompt in case.sequences
    ]
    first = run_engine(case, write_case_trace(case, tmp_path / "a.safetensors"))
    other = replace(case, sequences=renamed)
    assert run_engine(other, write_case_trace(other, tmp_path / "b.safetensors")) == first


def test_a_faster_link_is_never_slower(case: Case, tmp_path: Path) -> None:
    """On one FIFO link, with demand fetches alone and policies that do not see time, no step ends later."""
    case = replace(case, lookahead=0, grouped=False, chunk_ends_ns=[case.chunk_ends_ns[-1]])
    faster = replace(case, chunk_ends_ns=[max(1, case.chunk_ends_ns[-1] // 2)])
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    slow, fast = run_engine(case, trace), run_engine(faster, trace)
    assert (slow.hits, slow.misses) == (fast.hits, fast.misses)
    assert np.all(np.array(fast.step_end_ns) <= np.array(slow.step_end_ns))


def test_chunks_alone_change_nothing(case: Case, tmp_path: Path) -> None:
    """Where no demand overtakes a prefetch, cutting transfers into chunks does not change when they end."""
    case = replace(case, lookahead=0)
    whole = replace(case, chunk_ends_ns=[case.chunk_ends_ns[-1]])
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    assert run_engine(case, trace) == run_engine(whole, trace)


def test_a_whole_cache_misses_each_expert_once(case: Case, tmp_path: Path) -> None:
    """With room for all experts, each is fetched the first time and hit ever after."""
    case = replace(case, num_slots=(max(case.banks) + 1) * case.num_experts, lookahead=0)
    out = run_engine(case, write_case_trace(case, tmp_path / "trace.safetensors"))
    used = {key for tokens, _ in closed_loop(case) for token in tokens for row in token for key in row}
    assert out.misses == len(used)
    assert out.late_hits == 0


class KnowsTheStep:
    """Prefetch exactly what the layers ahead in the same step will use, in the order of each."""

    def __init__(self, view: View, distance: int) -> None:
        self._view = view
        self._oracle = view.oracle
        self._distance = distance

    def at_step_start(self) -> Sequence[int]:
        """Name nothing."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name the next visits that belong to the step."""
        del keys
        left = self._view.num_layers - 1 - self._view.visit % self._view.num_layers
        ahead = range(1, min(self._distance, left) + 1)
        return list(dict.fromkeys(key for visits in ahead for key in self._oracle.upcoming(visits)))

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing."""
        return ()


@pytest.mark.parametrize("distance", [1, 2])
def test_gates_that_never_err_know_the_step(case: Case, distance: int, tmp_path: Path) -> None:
    """Where the recorded picks of gates ahead are the routing itself, lookahead is an oracle that ends with the step."""
    case = replace(case, lookahead=0, gates_asked=0, lookahead_ns=0)
    num_layers, top_k = len(case.banks), len(case.sequences[0][0][0][0])
    ids = np.array([token for sequence, _ in case.sequences for token in sequence], dtype=np.uint8)
    ahead = np.zeros((len(ids), num_layers, distance, top_k), dtype=np.uint8)
    for layer in range(num_layers):
        for step in range(distance):
            ahead[:, layer, step] = ids[:, min(layer + step + 1, num_layers - 1)]
    trace = write_case_trace(case, tmp_path / "trace.safetensors", lookahead_ids=ahead)
    outcomes = [
        run_engine(case, trace, prefetch=lambda view: GateLookahead(view, distance=distance)),
        run_engine(case, trace, prefetch=lambda view: KnowsTheStep(view, distance)),
    ]
    assert outcomes[0] == outcomes[1]
