"""A replay decides what the simulator decides: the same counts, to the integer."""

import gzip
import json
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("torch")

import torch
import transformers

from hardware_profiles.errors import InputError
from simulator.run import simulate
from simulator.scenario import Scenario, build_scenario
from simulator.workload.step import Step
from tests.hand_made import make_trace, random_routing
from validation.models.random import random_model
from validation.replay.forward import StepRunner
from validation.replay.replay import Machine, Replayed, replay
from validation.runtime.cores import Cores
from validation.runtime.device import CpuDevice
from validation.runtime.offload import OffloadedModel
from validation.runtime.recording import Recording, span_cost_ns
from validation.runtime.throttle import Throttle

LAYERS, EXPERTS, TOP_K = 3, 8, 2
COUNTS = ("steps", "tokens", "accesses", "hits", "late_hits", "misses", "cpu_experts", "wave_fetches")
BYTES = ("h2d_demand_bytes", "h2d_prefetch_bytes")
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
        "eviction": random.choice(["lru", "lfu", "lfu_aged", "fifo", "belady", "static"]),
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
    scenario = random_scenario(seed, config, tmp_path)
    measured = replay(scenario, offloaded, machine, forced=True, throttle=FAST).summary
    simulated = simulate(scenario).summary
    assert {name: measured[name] for name in (*COUNTS, *BYTES)} == {name: simulated[name] for name in (*COUNTS, *BYTES)}


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
    whole = {"cache": {"frac": 1.0, "start": "popular"}, "eviction": "lru", "miss": "fetch"}
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
    """Two probes and a preparation of 30 ms each leave steps, makespan, attribution and timeline as they are without."""
    scenario = random_scenario(3, config, tmp_path, miss="fetch", eviction="lru", warmup_steps=1)
    path, pause_s, probes_ns = tmp_path / "timeline.json.gz", 0.03, iter(range(100, 1000))

    def probe() -> int:
        time.sleep(pause_s)
        return next(probes_ns)

    class Slow(StepRunner):
        def prepare(self, step: Step) -> None:
            time.sleep(pause_s)
            super().prepare(step)

    monkeypatch.setattr("validation.replay.replay.probe_ns", probe)
    monkeypatch.setattr("validation.replay.replay.Cores", lambda: Cores(probe))
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0})  # one core: settling is one probe
    monkeypatch.setattr("validation.replay.replay.StepRunner", Slow)
    replayed = replay(scenario, offloaded, machine, forced=True, throttle=FAST, timeline_path=path)
    steps, summary = replayed.steps, replayed.summary
    assert len(steps) == 1 + summary["steps"] > 5  # type: ignore[operator]
    paused_ns = 2 * pause_s * 1e9 * len(steps)
    total_ns = sum(step.duration_ns for step in steps)
    assert 0 < total_ns < paused_ns / 2
    checked(replayed)
    assert summary["makespan_ns"] <= total_ns < paused_ns / 2  # type: ignore[operator]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        ends = [event["ts"] + event.get("dur", 0) for event in json.load(file)["traceEvents"] if "ts" in event]
    assert max(ends) * 1e3 < paused_ns / 2
    assert [step.probe_ns for step in steps] == [101 + 2 * number for number in range(len(steps))], "the slower of two"


def test_steps_tell_their_tokens(config: Path, offloaded: OffloadedModel, machine: Machine, tmp_path: Path) -> None:
    """As many as the simulated ones, step by step, and the real probe takes some time."""
    scenario = random_scenario(4, config, tmp_path)
    emits: list[int] = []
    simulate(scenario, on_step=lambda step, _now_ns: emits.append(len(step.emits)))
    steps = replay(scenario, offloaded, machine, forced=True, throttle=FAST).steps
    assert [step.num_emits for step in steps] == emits
    assert all(step.probe_ns for step in steps)


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
