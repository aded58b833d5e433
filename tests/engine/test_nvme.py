"""Host memory as a cache above NVMe: runs worked out by hand, closed forms, and laws of random runs."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pytest

from simulator.cache import RESIDENT
from simulator.view import View
from tests.engine.case import Case, Outcome
from tests.engine.harness import make_engine, run_engine, write_case_trace
from tests.engine.test_against_reference import KINDS, changed_case, random_case, with_nvme

OF_HOST = {name for name in asdict(Outcome()) if name.startswith(("host_", "read"))}
NVME_KINDS = [kind for kind in KINDS if "nvme" in kind]


def by_hand(picks: Sequence[Sequence[int]], **changes: object) -> Case:
    """Make a run of one sequence, top-1: each layer has two experts and one slot of the GPU.

    A transfer takes 10, a read 25, work before a gate 5, a kernel 3, the end of a step 1.
    """
    case = Case(
        sequences=[([[[expert] for expert in token] for token in picks], 0)],
        num_experts=2,
        banks=list(range(len(picks[0]))),
        batch=1,
        num_slots=len(picks[0]),
        scope="per_layer",
        eviction="lru",
        lookahead=0,
        grouped=False,
        chunk_ends_ns=[10],
        lead_ns=[5] * len(picks[0]),
        tail_ns=1,
        expert_base_ns=3,
        expert_token_ns=0,
        host_slots=3,
        read_ends_ns=[25],
    )
    return replace(case, **changes)  # type: ignore[arg-type]


def run(case: Case, tmp_path: Path) -> Outcome:
    """Run the engine on a case."""
    return run_engine(case, write_case_trace(case, tmp_path / "trace.safetensors"))


def test_a_run_by_hand(tmp_path: Path) -> None:
    """Three tokens pick experts 0 and 2, 1 and 2, 0 and 3 of two layers. Host memory has three slots, empty at first.

    gate   5: 0 is nowhere: read 5-30, transfer 30-40, kernel until 43
    gate  48: 2 is nowhere: read 48-73, transfer 73-83, kernel until 86; the token is out at 87
    gate  92: 1 is nowhere: read 92-117, transfer 117-127, kernel until 130; 0 has lost its slot of the GPU
    gate 135: 2 is a hit, of which host memory hears nothing; the token is out at 139
    gate 144: 0 is in host memory: transfer 144-154, kernel until 157
    gate 162: 3 is nowhere; in host memory 2 was asked for longest ago and goes: read 162-187, transfer until 197
    """
    out = run(by_hand([[0, 0], [1, 0], [0, 1]]), tmp_path)
    assert out.step_end_ns == [87, 139, 201]
    assert (out.host_hits, out.host_late_hits, out.host_misses, out.host_evictions) == (1, 0, 4, 1)
    assert (out.reads, out.read_busy_ns) == (4, 100)
    assert {cause: spent for cause, spent in out.attribution_ns.items() if spent} == {
        "experts": 18,
        "other": 33,
        "demand": 50,
        "nvme": 100,
    }


def test_read_ahead_by_hand(tmp_path: Path) -> None:
    """The same with four slots, and one more expert read behind each that has to be.

    gate   5: read 0 5-30, transfer until 40; read 1, ahead, 30-55
    gate  48: 2 waits for NVMe: read 55-80, transfer until 90, out at 94; read 3, ahead, 80-105
    gate  99: 1 is in host memory: transfer 99-109. 2 is a hit; out at 121
    gate 126: 0 is in host memory: transfer until 136; gate 144: so is 3: transfer until 154; out at 158
    """
    out = run(by_hand([[0, 0], [1, 0], [0, 1]], host_slots=4, read_ahead=1), tmp_path)
    assert out.step_end_ns == [94, 121, 158]
    assert (out.host_hits, out.host_misses, out.reads, out.reads_ahead, out.reads_ahead_used) == (3, 2, 4, 2, 2)
    assert (out.attribution_ns["nvme"], out.attribution_ns["demand"]) == (25 + 32, 50)


def test_a_demand_overtakes_a_read_ahead_at_the_end_of_a_chunk(tmp_path: Path) -> None:
    """As before, in chunks of 5: at 48, read 1 (since 30) gives way at 50, and goes on after 2: 75-80."""
    out = run(by_hand([[0, 0]], host_slots=4, read_ahead=1, read_ends_ns=[5, 10, 15, 20, 25]), tmp_path)
    assert out.attribution_ns["nvme"] == 25 + 27
    assert out.step_end_ns == [89]
    assert (out.reads, out.read_busy_ns) == (3, 25 + 20 + 25 + 5 + 9)


def test_the_cpu_computes_what_is_in_host_memory(tmp_path: Path) -> None:
    """gate 5: read 0 5-30, then the CPU until 37. gate 42: 1 of layer 2 is there: the CPU until 49. The step ends at 50."""
    case = by_hand([[0, 1]], actions=("cpu",), cpu_base_ns=7, host_warm=[3])
    out = run(case, tmp_path)
    assert out.step_end_ns == [50]
    assert (out.host_hits, out.host_misses, out.reads) == (1, 1, 1)
    assert out.attribution_ns["cpu"] == 32 + 7


class Watches:
    """Prefetch nothing, and note at each gate where expert 0 is and what its way to the GPU would take."""

    def __init__(self, view: View, seen: list[tuple[bool, int]]) -> None:
        self._view = view
        self._seen = seen

    def at_step_start(self) -> Sequence[int]:
        """Name nothing."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Look."""
        del keys
        self._seen.append((self._view.is_in_host(0), self._view.costs.fetch_ns(0)))
        return ()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing."""
        return ()


def test_policies_see_where_an_expert_is(tmp_path: Path) -> None:
    """With two slots of host memory, empty at first: 0 is read for the first gate, and goes for the second token's."""
    case = by_hand([[0, 0], [1, 0], [0, 0]], host_slots=2)
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    seen: list[tuple[bool, int]] = []
    run_engine(case, trace, prefetch=lambda view: Watches(view, seen))
    assert seen == [(False, 35), (True, 10), (False, 35), (False, 35), (False, 35), (True, 10)]
    seen.clear()
    run_engine(replace(case, host_slots=0, read_ends_ns=[]), trace, prefetch=lambda view: Watches(view, seen))
    assert seen == [(True, 10)] * 6


@pytest.mark.parametrize(("lead_ns", "read_ns"), [(5, 25), (40, 25), (22, 25), (21, 25), (5, 4)])
def test_streaming_is_as_slow_as_its_slowest_part(lead_ns: int, read_ns: int, tmp_path: Path) -> None:
    """What passes through in order, known far ahead: a layer takes the longest of compute, read and transfer.

    Eight layers of one expert in use each, of which neither the GPU nor host memory keeps any until it is used again.
    """
    num_layers, transfer_ns, kernel_ns = 8, 10, 3
    case = by_hand(
        [[0] * num_layers] * 6,
        scope="global",
        num_slots=5,
        lookahead=4,
        host_slots=3,
        eviction="fifo",
        host_eviction="fifo",
        lead_ns=[lead_ns] * num_layers,
        tail_ns=0,
        read_ends_ns=[read_ns],
    )
    out = run(case, tmp_path)
    steps_ns = [after - before for before, after in zip(out.step_end_ns[2:], out.step_end_ns[3:], strict=False)]
    assert out.reads >= 6 * num_layers, "every use is read anew"
    assert set(steps_ns) == {num_layers * max(lead_ns + kernel_ns, read_ns, transfer_ns)}


@pytest.fixture(params=[(kind, seed) for kind in NVME_KINDS for seed in range(8000, 8010)], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Draw a small run of each kind with NVMe."""
    return changed_case(*request.param)


def test_reads_are_conserved(case: Case, tmp_path: Path) -> None:
    """Each read was asked for; NVMe was busy for what it has read, and never longer than there was time."""
    out = run(case, tmp_path)
    assert out.reads <= out.host_misses + out.reads_ahead
    assert out.reads_ahead_used <= out.reads_ahead
    assert out.host_evictions <= out.host_misses + out.reads_ahead
    assert out.step_end_ns[-1] >= out.read_busy_ns >= out.reads * case.read_ends_ns[-1]


@pytest.mark.parametrize("seed", range(8100, 8160))
def test_with_demands_alone_every_miss_is_one_read(seed: int, tmp_path: Path) -> None:
    """Bytes from NVMe are those of the misses of host memory, and the accesses of host memory those of the link."""
    case = replace(with_nvme(random_case(seed), Random(seed)), lookahead=0, read_ahead=0)
    out = run(case, tmp_path)
    assert out.reads == out.host_misses
    assert out.read_busy_ns == out.reads * case.read_ends_ns[-1]
    assert out.host_hits + out.host_late_hits + out.host_misses == out.misses
    assert out.attribution_ns["nvme"] <= out.read_busy_ns


def test_host_memory_never_holds_more_than_fits(case: Case, tmp_path: Path) -> None:
    """At every instant: slots are those taken; what is on the link or computed by the CPU is there."""
    trace = write_case_trace(case, tmp_path / "trace.safetensors")
    engine = make_engine(case, trace, Outcome())
    assert engine.host is not None
    tier, cache = engine.host, engine.host._cache
    engine.env.process(engine._gpu_stream())
    while engine.env.peek() != float("inf"):
        engine.env.step()
        assert sum(state != 0 for state in cache.state) == cache.num_occupied() <= case.host_slots
        assert all(cache.state[key] == RESIDENT for key in tier._uses)
        assert tier._uses.keys() <= cache.held
        serving = engine.link.serving
        assert serving is None or serving.key >= case.num_keys or cache.state[serving.key] == RESIDENT
    assert not tier._wanted
    assert not tier._uses
    assert not cache.held


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "nvme" not in kind])
def test_a_host_that_holds_all_changes_nothing(kind: str, tmp_path: Path) -> None:
    """Where all experts are in host memory from the start, a run is the same to the nanosecond."""
    for seed in range(8200, 8212):
        case = changed_case(kind, seed)
        trace = write_case_trace(case, tmp_path / "trace.safetensors")
        whole = replace(case, host_slots=case.num_keys, host_warm=list(range(case.num_keys)), read_ends_ns=[7])
        without, with_all = asdict(run_engine(case, trace)), asdict(run_engine(whole, trace))
        assert with_all["reads"] == with_all["host_misses"] == 0
        assert {key: without[key] for key in without.keys() - OF_HOST} == {
            key: with_all[key] for key in with_all.keys() - OF_HOST
        }
