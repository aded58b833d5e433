"""A replay decides what the simulator decides: the same counts, to the integer."""

import gzip
import json
import time
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
import transformers
from torch import Tensor

from hardware_profiles.errors import InputError
from simulator.eviction import EVICTION
from simulator.inputs import Inputs
from simulator.miss import MISS
from simulator.order import ORDER
from simulator.prepare import Prepared, prepare
from simulator.queue import QUEUE
from simulator.run import simulate
from simulator.scenario import Scenario, build_scenario
from simulator.workload.step import Step
from tests.hand_made import make_trace, random_routing
from tests.validation.plain_visits import PlainVisits, Said, plain_low
from traces.capture.layers import MoELayer
from traces.format import Sequences, TraceMetadata, write_trace
from validation.models.random import random_model
from validation.replay.forward import StepRunner
from validation.replay.replay import Machine, Replayed, replay
from validation.runtime.cores import Cores
from validation.runtime.device import CpuDevice
from validation.runtime.executor import Executor
from validation.runtime.gates import picks_by_weight
from validation.runtime.link import CopyLink
from validation.runtime.offload import OffloadedModel
from validation.runtime.recording import Recording, span_cost_ns
from validation.runtime.throttle import Throttle

LAYERS, EXPERTS, TOP_K = 3, 8, 2
COUNTS = (
    "steps",
    "tokens",
    "accesses",
    "hits",
    "late_hits",
    "misses",
    "cpu_experts",
    "deferred_experts",
    "low_precision_experts",
    "wave_fetches",
    "h2d_demand_bytes",
    "h2d_prefetch_bytes",
    "h2d_low_precision_bytes",
    "d2h_write_back_bytes",
    "loss",
)
FAST = Throttle(bandwidth_bytes_per_s=2e9, latency_s=1e-5)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's config."""
    folder = tmp_path_factory.mktemp("model")
    transformers.MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=EXPERTS,
        num_experts_per_tok=TOP_K,
        max_position_embeddings=128,
        architectures=["MixtralForCausalLM"],
        dtype="float32",
    ).save_pretrained(folder)
    return folder / "config.json"


@pytest.fixture(scope="module")
def offloaded(config: Path) -> OffloadedModel:
    """The tiny model."""
    return random_model(config, CpuDevice(), torch.float32, 3)


@pytest.fixture
def machine() -> Machine:
    """One thread each."""
    return Machine(device=CpuDevice())


def random_scenario(seed: int, config: Path, folder: Path, **values: object) -> Scenario:
    """Draw a trace with prompts, and a cache, a batch and policies that fetch on demand alone."""
    random = Random(seed)
    lengths = [random.randint(1, 9) for _ in range(random.randint(1, 5))]
    routing = random_routing(seed, lengths=lengths, num_layers=LAYERS, num_experts=EXPERTS, top_k=TOP_K)
    prompts = [random.choice([0, random.randint(0, length)]) for length in lengths]
    trace = make_trace(folder / f"{seed}.safetensors", routing, num_experts=EXPERTS, prompt_tokens=prompts)
    scope = random.choice(["per_layer", "global"])
    drawn: dict[str, object] = {
        "trace": str(trace.path),
        "model": str(config),
        "hardware": "fixed-costs",
        "quantisation": {"experts": "fp32"},
        "cache": {"experts": random.randint(LAYERS * TOP_K, LAYERS * EXPERTS), "scope": scope},
        "eviction": random.choice(["lru", "lfu", "lfu_aged", "fifo", "belady"]),
        "placement": random.choice(["none", "none", "popular", "pinned_popular"]),
        "miss": random.choice(["fetch", "fetch", "cpu"]),
        "batch": random.randint(1, 4),
        "prefill_chunk_tokens": random.choice([None, 2]),
    }
    return build_scenario(drawn | values, f"seed {seed}")


@pytest.mark.parametrize("seed", range(40))
def test_counts_on_demand_are_those_of_the_simulation(
    seed: int, config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """Hits, misses and bytes, whatever the eviction policy, the scope, the batch and the prompts."""
    check_counts(random_scenario(seed, config, tmp_path), offloaded, machine)


def check_counts(scenario: Scenario, offloaded: OffloadedModel, machine: Machine) -> Mapping[str, Any]:
    """Replay and simulate, compare the counts, return them."""
    measured = replay(scenario, offloaded, machine, forced=True, throttle=FAST).summary
    simulated = simulate(scenario).summary
    counted = {name: measured[name] for name in COUNTS}
    assert counted == {name: simulated[name] for name in COUNTS}
    return counted


def rich_scenario(seed: int, config: Path, folder: Path, **values: object) -> Scenario:
    """Draw a trace with gate weights and lookahead, two sequences to learn from, and a composition of all there is.

    In-turn order is left out where a step may need more experts than there are slots.
    """
    rng = np.random.default_rng(seed)
    random = Random(seed)
    lengths = [random.randint(3, 9) for _ in range(random.randint(4, 6))]
    num_tokens = sum(lengths)
    routing = random_routing(seed, lengths=lengths, num_layers=LAYERS, num_experts=EXPERTS, top_k=TOP_K)
    weights = -np.sort(-rng.dirichlet([1.0] * TOP_K, size=(num_tokens, LAYERS)), axis=-1)
    path = folder / f"{seed}.safetensors"
    write_trace(
        path,
        Sequences(
            expert_ids=np.array([token for tokens in routing for token in tokens], np.uint8),
            sequence_start=np.cumsum([0, *lengths]).astype(np.int64),
            prompt_tokens=np.array([random.randint(0, length - 1) for length in lengths], np.int32),
            gate_weights=weights.astype(np.float16),
            lookahead_ids=rng.permuted(
                np.broadcast_to(np.arange(EXPERTS, dtype=np.uint8), (num_tokens, LAYERS, LAYERS - 1, EXPERTS)), axis=-1
            )[..., :TOP_K].copy(),
        ),
        TraceMetadata(model="drawn", num_experts=EXPERTS),
        overwrite=True,
    )
    experts = random.randint(LAYERS * (TOP_K + 2), LAYERS * EXPERTS - 2)
    staging = random.choice([0, 2])
    drawn: dict[str, object] = {
        "trace": str(path),
        "model": str(config),
        "hardware": "fixed-costs",
        "quantisation": {"experts": "fp32"},
        "cache": {
            "experts": experts + staging,
            "scope": random.choice(["per_layer", "global"]),
            "staging": staging,
            "write_back": random.random() < 0.3,
        },
        "fit": {"sequences": 2},
        "eviction": random.choice(list(EVICTION)),
        "miss": "fetch",
        "order": random.choice([name for name in ORDER if name != "in_turn"]),
        "queue": random.choice(list(QUEUE)),
        "placement": random.choice(["none", "popular", "random"]),
        "batching": random.choice(["together", {"name": "micro_batches", "count": 2}]),
        "batch": random.randint(1, 4),
        "prefill_chunk_tokens": random.choice([None, 2]),
    }
    return build_scenario(drawn | values, f"seed {seed}")


@pytest.mark.parametrize("eviction", EVICTION)
@pytest.mark.parametrize("seed", [0, 1])
def test_counts_of_every_eviction(
    eviction: str, seed: int, config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """With and without staging slots and write-back, in both scopes, from both ends of the cache."""
    for at, miss in enumerate(("fetch", "cpu_by_tokens")):
        scenario = rich_scenario(1000 * seed + at, config, tmp_path, eviction=eviction, miss=miss)
        check_counts(scenario, offloaded, machine)


MISSES: Mapping[str, Mapping[str, object]] = {
    **{name: {"name": name} for name in MISS if name != "in_place"},
    "daop": {"name": "daop", "first_layer": 1},
    "low_precision": {"name": "low_precision", "high": 0.2, "low": 0.7},
    "low_precision, always": {"name": "low_precision", "always": True},
    "drop, to the CPU": {"name": "drop", "keep_ranks": 0, "below": 0.4, "otherwise": "cpu"},
    "defer, prefill too": {"name": "defer", "ranks": 1, "in_prefill": True},
    "skip, by threshold": {"name": "skip", "threshold": 0.3, "skip_share": 0.0},
}


HAPPENS = {
    "cpu": "cpu_experts",
    "cpu_below": "cpu_experts",
    "schedule": "cpu_experts",
    "defer": "deferred_experts",
    "defer, prefill too": "deferred_experts",
    "low_precision": "low_precision_experts",
    "low_precision, always": "low_precision_experts",
    "drop": "dropped_picks",
    "drop, to the CPU": "dropped_picks",
    "skip": "dropped_picks",
    "skip, by threshold": "dropped_picks",
    "buddy": "substituted_picks",
    "substitute_low_score": "substituted_picks",
    "masked": "substituted_picks",
    "daop": "substituted_picks",
}


@pytest.mark.parametrize("miss", MISSES)
def test_counts_of_every_way_to_handle_a_miss(
    miss: str, config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """And every visit's output is what the policy says, by a reference that goes token by token."""
    happened = 0
    for seed in range(3):
        values: dict[str, object] = {"miss": MISSES[miss]}
        if miss.startswith("low_precision"):
            values |= {
                "low_precision": {"format": "6 bit", "frac": 0.2},
                "cache": {"experts": 22, "staging": seed % 2 * 2},
            }
        scenario = rich_scenario(100 + seed, config, tmp_path, **values)
        measured, furthest = replay_beside_reference(scenario, offloaded, machine, FAST)
        simulated = simulate(scenario).summary
        assert {name: measured[name] for name in COUNTS} == {name: simulated[name] for name in COUNTS}
        assert furthest < 1e-5
        happened += {**measured, **measured["loss"]}.get(HAPPENS.get(miss, "misses"), 0)
    assert happened > 0, "the runs do what they are there for"


def replay_beside_reference(
    scenario: Scenario, offloaded: OffloadedModel, machine: Machine, throttle: Throttle
) -> tuple[Mapping[str, Any], float]:
    """Replay; return the summary, and how far the visits' outputs are from the plain reference's, given the same states.

    That is as a share of the largest.
    """
    said, visits, forced = Said(), [], []
    visit = Executor.visit

    def prepare_and_listen(scenario: Scenario, inputs: Inputs, source: str, *, max_lookahead: int | None) -> Prepared:
        ready = prepare(scenario, inputs, source, max_lookahead=max_lookahead)
        said.listen(ready.policies.miss, ready.view)
        return ready

    def record(executor: Executor, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        assert executor._step is not None
        forced.append([token[layer] for token in executor._step.tokens])
        given = (layer, hidden_NH.clone(), ids_NK, weights_NK.clone())
        output_NH = visit(executor, layer, hidden_NH, ids_NK, weights_NK)
        visits.append((*given, output_NH.clone()))
        return output_NH

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("validation.replay.replay.prepare", prepare_and_listen)
        patch.setattr(Executor, "visit", record)
        summary = replay(scenario, offloaded, machine, forced=True, throttle=throttle).summary
    plain = PlainVisits(
        offloaded, said, low=plain_low(offloaded, bits=4, group=8), keys_of=lambda number: forced[number]
    )
    with torch.inference_mode():
        furthest = max(float((plain(*given) - output_NH).abs().max()) for *given, output_NH in visits)
    return summary, furthest / max(float(output_NH.abs().max()) for *_, output_NH in visits)


def test_a_call_off_and_a_prefetch_keep_slots_apart(
    config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """Prefetches that are called off while the link is busy, staged ones, low copies: outputs are still right."""
    slow = Throttle(bandwidth_bytes_per_s=3e7, latency_s=1e-5)  # 0.3 ms each: prefetches wait
    cancelled = 0
    for seed in range(6):
        scenario = rich_scenario(
            300 + seed,
            config,
            tmp_path,
            prefetch={"name": "gate_lookahead", "distance": 2, "experts": 2},
            queue=["purge_all", "purge_passed"][seed % 2],
            warmup_steps=0,
        )
        summary, furthest = replay_beside_reference(scenario, offloaded, machine, slow)
        cancelled += summary["prefetches"]["cancelled"]
        assert furthest < 1e-5
    assert cancelled > 0


@pytest.mark.parametrize(
    ("format_", "is_exact"), [("6 bit", True), ("10 bit", True), ("q6_k", True), ("4 bit", False), ("int8", False)]
)
def test_bytes_of_low_precision_copies_are_those_that_move(
    format_: str, is_exact: bool, config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """Those of the format where its bits pay for the scales; where a format leaves them out, the scales come on top."""
    scenario = rich_scenario(
        7,
        config,
        tmp_path,
        miss={"name": "low_precision", "always": True},
        low_precision={"format": format_, "frac": 0.2},
        cache={"experts": 20},
    )
    measured = replay(scenario, offloaded, machine, forced=True, throttle=FAST).summary
    simulated = simulate(scenario).summary
    assert measured["low_precision_experts"] == simulated["low_precision_experts"] != 0
    moved, assumed = measured["h2d_low_precision_bytes"], simulated["h2d_low_precision_bytes"]
    assert (moved == assumed) == is_exact
    rows = 2 * 24 + 32  # of gate_up_proj [48, 32] and down_proj [32, 24], a scale of 2 bytes each
    bytes_each = 3 * 32 * 24 * (1 if format_ == "int8" else 0.5) + 2 * rows
    assert is_exact or moved / assumed == pytest.approx(bytes_each / (bytes_each - 2 * rows))  # type: ignore[operator]


def test_what_only_the_simulator_can_do_is_refused(
    config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """Tiles, weights that are read in place, formats that are no low precision."""
    for values, told in (
        ({"tiles": {"count": 4}}, "tiles: are simulated alone"),
        ({"host_cache": {"frac": 0.5}}, "host_cache: is simulated alone"),
        ({"miss": "in_place"}, "in_place: torch computes from device memory alone"),
        ({"low_precision": {"format": "fp16", "frac": 0.1}, "cache": {"experts": 20}}, "fp16 takes 16 bit per weight"),
    ):
        scenario = rich_scenario(3, config, tmp_path, **values)
        with pytest.raises(InputError, match=told):
            replay(scenario, offloaded, machine, forced=True)


def checked(replayed: Replayed) -> dict[str, int]:
    """Return the attribution of a replay, which adds up to its makespan but for what resolving it took."""
    attribution = replayed.summary["attribution_ns"]
    assert isinstance(attribution, dict)
    makespan_ns = replayed.summary["makespan_ns"]
    assert isinstance(makespan_ns, int)
    assert 0.8 * makespan_ns < sum(attribution.values()) <= makespan_ns
    return attribution


def test_times_are_attributed_to_their_causes(
    config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """A slow link shows as stalls, experts on the CPU as waits for the CPU; a cache that holds all as neither."""
    whole = {"cache": {"frac": 1.0}, "placement": "popular", "eviction": "lru", "miss": "fetch"}
    small = {"cache": {"experts": LAYERS * TOP_K}, "eviction": "lru"}
    slow = Throttle(bandwidth_bytes_per_s=1e7, latency_s=0.0)  # 0.9 ms each

    def run(name: str, values: Mapping[str, object]) -> dict[str, int]:
        (tmp_path / name).mkdir()
        scenario = random_scenario(5, config, tmp_path / name, **values)
        return checked(replay(scenario, offloaded, machine, forced=True, throttle=slow))

    resident, fetched, on_cpu = run("a", whole), run("b", small | {"miss": "fetch"}), run("c", small | {"miss": "cpu"})
    assert resident["exposed_demand_fetch"] == resident["exposed_cpu_expert"] == 0
    assert fetched["exposed_demand_fetch"] > 0.3 * sum(fetched.values())
    assert on_cpu["exposed_demand_fetch"] == 0
    assert on_cpu["exposed_cpu_expert"] > 0


def test_own_routing_is_compared_with_the_trace(
    config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path
) -> None:
    """A trace of random routing is not what the model picks, and the replay says so; forced, it is never looked at."""
    scenario = random_scenario(1, config, tmp_path)
    assert replay(scenario, offloaded, machine, forced=True, throttle=FAST).num_other_picks == 0
    assert replay(scenario, offloaded, machine, forced=False, throttle=FAST).num_other_picks > 0


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("distance", [1, 2])
def test_gates_ahead_are_applied_whoever_knows_the_picks(
    forced: bool,
    distance: int,
    config: Path,
    offloaded: OffloadedModel,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once in each visit for each later layer within the distance, though eviction asks as well; recorded picks count."""
    applied: list[MoELayer] = []

    def note(layer: MoELayer, hidden_NH: Tensor) -> object:
        applied.append(layer)
        return picks_by_weight(layer, hidden_NH)

    monkeypatch.setattr("validation.runtime.executor.picks_by_weight", note)
    prefetch = {"name": "gate_lookahead", "distance": distance}
    eviction = {"name": "predicted_unused_first", "distance": distance}
    scenario = rich_scenario(4, config, tmp_path, prefetch=prefetch, eviction=eviction, batching="together")
    replayed = replay(scenario, offloaded, machine, forced=forced, throttle=FAST)
    asked = [later for layer in range(LAYERS) for later in range(layer + 1, min(layer + distance, LAYERS - 1) + 1)]
    assert applied == [offloaded.layers[later] for later in asked] * len(replayed.steps)


def test_timeline_has_what_happened(config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path) -> None:
    """Every expert, transfer and gate of the run, in the simulator's schema; slices of a track do not overlap."""
    scenario = random_scenario(3, config, tmp_path, miss="fetch", eviction="lru")
    path = tmp_path / "timeline.json.gz"
    summary = replay(scenario, offloaded, machine, forced=True, throttle=FAST, timeline_path=path).summary
    with gzip.open(path, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    tracks = {event["args"]["name"]: event["tid"] for event in events if event["name"] == "thread_name"}
    slices = [event for event in events if event["ph"] == "X"]
    kernels = [event for event in slices if event["tid"] == tracks["GPU stream"] and "experts" in event["args"]]
    assert len(kernels) == summary["accesses"]
    assert sum(event["tid"] == tracks["H2D link"] for event in slices) == summary["misses"]
    assert Counter(event["name"] for event in events)["gate"] == summary["steps"] * LAYERS  # type: ignore[operator]
    for track in ("GPU stream", "H2D link"):
        ends = [(event["ts"], event["ts"] + event["dur"]) for event in slices if event["tid"] == tracks[track]]
        assert all(first[1] <= second[0] + 0.002 for first, second in pairwise(ends))
    flows = Counter(event["ph"] for event in events)
    assert flows["s"] == summary["misses"]
    assert flows["f"] == summary["misses"]


def test_what_happens_between_steps_takes_no_time(
    config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two probes and a preparation of 30 ms each leave steps, makespan, attribution and timeline as they are without.

    Meanwhile the link is paused.
    """
    scenario = random_scenario(3, config, tmp_path, miss="fetch", eviction="lru", warmup_steps=1)
    path, pause_s, probes_ns = tmp_path / "timeline.json.gz", 0.03, iter(range(100, 1000))

    links: list[CopyLink] = []
    link_is_paused: list[bool] = []

    class Noted(CopyLink):
        def __init__(self, device: CpuDevice, *, chunk_bytes: int | None, throttle: Throttle | None) -> None:
            super().__init__(device, chunk_bytes=chunk_bytes, throttle=throttle)
            links.append(self)

    def probe() -> int:
        time.sleep(pause_s)
        link_is_paused.append(links[0]._is_paused())
        return next(probes_ns)

    class Slow(StepRunner):
        def prepare(self, step: Step) -> None:
            time.sleep(pause_s)
            super().prepare(step)

    monkeypatch.setattr("validation.replay.replay.CopyLink", Noted)
    monkeypatch.setattr("validation.replay.replay.probe_ns", probe)
    monkeypatch.setattr("validation.replay.replay.Cores", lambda: Cores(probe))
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0})  # one core: settling is one probe
    monkeypatch.setattr("validation.replay.replay.StepRunner", Slow)
    replayed = replay(scenario, offloaded, machine, forced=True, throttle=FAST, timeline_path=path)
    steps, summary = replayed.steps, replayed.summary
    assert len(steps) == 1 + summary["steps"] > 5  # type: ignore[operator]
    assert link_is_paused == [True] * (2 * len(steps) + 1), "before and after each, and once more after the last"
    assert not links[0]._is_paused()
    paused_ns = 2 * pause_s * 1e9 * len(steps)
    total_ns = sum(step.duration_ns for step in steps)
    assert 0 < total_ns < paused_ns / 2
    checked(replayed)
    assert summary["makespan_ns"] <= total_ns < paused_ns / 2  # type: ignore[operator]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        ends = [event["ts"] + event.get("dur", 0) for event in json.load(file)["traceEvents"] if "ts" in event]
    assert max(ends) * 1e3 < paused_ns / 2
    assert [step.probe_ns for step in steps] == [101 + 2 * number for number in range(len(steps))], "the slower of two"
    assert [step.slowest_core_ns for step in steps] == [102 + 2 * number for number in range(len(steps))], "of the next"


def test_steps_tell_their_tokens(config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path) -> None:
    """As many as the simulated ones, step by step, as what they find; and the real probe takes some time."""
    scenario = random_scenario(4, config, tmp_path)
    expected: list[tuple[int, tuple[int, int, int]]] = []
    simulate(scenario, on_step=lambda step, _, snapshot: expected.append((len(step.emits), snapshot().outcomes())))
    steps = replay(scenario, offloaded, machine, forced=True, throttle=FAST).steps
    assert [step.num_emits for step in steps] == [num_emits for num_emits, _ in expected]
    found = [tuple(accumulate(getattr(step, name) for step in steps)) for name in ("hits", "late_hits", "misses")]
    assert list(zip(*found, strict=True)) == [outcomes for _, outcomes in expected]
    assert any(step.misses for step in steps)
    assert all(step.probe_ns for step in steps)
    assert all(step.slowest_core_ns for step in steps)
    assert all(step.waited_ns is not None and step.waited_ns >= 0 for step in steps)


def test_a_pause_ends_when_it_began() -> None:
    """Times of the run go on after a pause, and stand still within it, for one that asks later."""
    recording = Recording(CpuDevice(), keep_spans=False)
    recording.start()
    before_ns = recording.now_ns()
    with recording.paused():
        within_ns = time.perf_counter_ns()
        time.sleep(0.05)
    ended_ns = time.perf_counter_ns()
    with recording.paused():
        time.sleep(0.05)
    after_ns = recording.now_ns()
    assert before_ns <= recording.run_ns(within_ns) <= recording.run_ns(ended_ns) <= after_ns
    assert recording.run_ns(within_ns) == recording.run_ns(within_ns + 10_000_000)
    assert after_ns - before_ns < 50_000_000


def test_a_trace_of_another_shape_is_refused(machine: Machine, config: Path, tmp_path: Path) -> None:
    """Before anything runs: the trace and the model agree, but not with the model that was built."""
    scenario = random_scenario(2, config, tmp_path)
    values = json.loads(config.read_text(encoding="utf-8")) | {"num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    other = random_model(tmp_path / "config.json", CpuDevice(), torch.float32, 3)
    with pytest.raises(InputError, match="3 rounds of 8 experts, the model 2 of 8"):
        replay(scenario, other, machine, forced=True)


def test_recording_counts_what_noting_takes(
    config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside resolving, each stretch of work costs what one was timed to take; a second each is more than the whole run."""
    scenario = random_scenario(1, config, tmp_path)
    plain = replay(scenario, offloaded, machine, forced=True, throttle=FAST)
    assert 0 < plain.recording_frac < 1
    monkeypatch.setattr("validation.replay.replay.span_cost_ns", lambda _device: 1e9)
    assert replay(scenario, offloaded, machine, forced=True, throttle=FAST).recording_frac > 100


def test_noting_a_stretch_of_work_takes_microseconds() -> None:
    """More than nothing, less than a millisecond."""
    assert 100 < span_cost_ns(CpuDevice()) < 1e6
