"""Scenarios with replicas: what they accept, what comes out, how they end."""

import csv
import gzip
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bench.routing import sticky_zipf
from hardware_profiles.errors import InputError
from simulator.new_folder import csv_text
from simulator.report import render_summary
from simulator.request_router import REQUEST_ROUTER
from simulator.results import replica_rows, request_rows, summary_json
from simulator.run import RunResult, simulate
from simulator.scenario import build_scenario, plain, read_scenario, set_path

USERS = {
    "arrivals": {"process": "closed_loop", "users": 6, "think": "100 ms"},
    "prompt_tokens": {"mean": 40, "cv": 1, "least": 2, "most": 200},
    "output_tokens": 6,
    "requests": 18,
}
OPEN = USERS | {"arrivals": {"process": "poisson", "rate": "30 /s"}}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic trace of gpt-oss-20b's shape."""
    path = tmp_path_factory.mktemp("replicas") / "trace.safetensors"
    sticky_zipf(path, num_tokens=800, sequence_tokens=100, num_layers=24, num_experts=32, top_k=4, seed=5)
    return path


def values(trace: Path, **changed: object) -> dict[str, object]:
    """Return a scenario's plain values."""
    return {
        "trace": str(trace),
        "model": "gpt-oss-20b",
        "hardware": "rtx-4090",
        "cache": {"frac": 0.5},
        "workload": OPEN,
        **changed,
    }


def run(trace: Path, **changed: object) -> RunResult:
    """Run a scenario."""
    return simulate(build_scenario(values(trace, **changed), "test"))


def rows_of(result: RunResult) -> list[dict[str, Any]]:
    """Return what the summary says of each replica."""
    replicas = result.summary["replicas"]
    assert isinstance(replicas, dict)
    rows: list[dict[str, Any]] = replicas["each"]
    return rows


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"workload": USERS, "scheduler": {"policy": "mixed", "max_step_tokens": 64}},
        {"cache": {"frac": 0.5}, "prefetch": "gate_lookahead", "eviction": "lfu"},
        {"placement": "random", "scheduler": {"kv_cache": "8 MiB", "preemption": "swap"}},
        {"stop": {"tokens": 40}},
        {"stop": {"time": "300 ms"}},
    ],
)
@pytest.mark.parametrize("router", ["round_robin", "cache_affine"])
def test_one_replica_is_the_service_without_the_key(changed: dict[str, object], router: str, trace: Path) -> None:
    """All that came out without the key comes out with it, byte for byte; the key adds to it."""
    changed = {"slo": {"default": {"ttft": "200 ms"}}} | changed
    alone, one = run(trace, **changed), run(trace, **changed, replicas={"count": 1, "router": router})
    kept = {key: value for key, value in one.summary.items() if key != "replicas"}
    if changed.get("stop") is not None:  # of notes that count requests, those count that have come within the last step
        kept["assumptions"] = alone.summary["assumptions"]
    assert json.loads(summary_json(kept)) == json.loads(summary_json(alone.summary))
    of_one = [{key: value for key, value in row.items() if key != "replica"} for row in request_rows(one)]
    assert of_one == request_rows(alone)
    assert csv_text(one.layers) == csv_text(alone.layers)


@pytest.mark.parametrize("router", REQUEST_ROUTER)
@pytest.mark.parametrize("workload", [OPEN, USERS])
def test_all_are_answered(router: str, workload: dict[str, object], trace: Path) -> None:
    """The parts are the whole, whatever the router; the same seed gives the same bytes."""
    replicas = {"count": 3, "router": router, "sessions": "sticky"}
    result = run(trace, workload=workload, replicas=replicas)
    service, rows = result.summary["service"], rows_of(result)
    assert isinstance(service, dict)
    assert (service["arrived"], service["finished"], service["in_system_at_end"]) == (18, 18, 0)
    assert result.summary["tokens"] == sum(row["tokens"] for row in rows) == 18 * 6
    assert sum(row["given"] for row in rows) == sum(row["requests"] for row in rows) == 18
    assert service["littles_law"]["residual_ns"] == 0
    assert all(row["littles_law_residual_ns"] == 0 for row in rows)
    assert sum(row["accesses"] for row in rows) == result.summary["accesses"]
    for name in ("gpu_busy_frac", "h2d_busy_frac"):
        busy = result.summary["busy_frac"]
        assert isinstance(busy, dict)
        assert sum(row[name] for row in rows) / 3 == pytest.approx(busy[name.partition("_")[0]])
    attribution_ns, makespan_ns = result.summary["attribution_ns"], result.summary["makespan_ns"]
    assert isinstance(attribution_ns, dict)
    assert isinstance(makespan_ns, int)
    assert sum(attribution_ns.values()) == 3 * makespan_ns
    energy = result.summary["energy"]
    if isinstance(energy, dict):
        assert energy["mean_power_w"] * makespan_ns / 1e9 == pytest.approx(energy["total_j"])
    assert max(max(service["over_time"][f"{device}_busy_frac"]) for device in ("gpu", "h2d")) <= 1 + 1e-9
    again = run(trace, workload=workload, replicas=replicas)
    assert summary_json(again.summary) == summary_json(result.summary)
    render_summary(result.summary, "a service")
    requests = list(csv.DictReader(io.StringIO(csv_text(request_rows(result)))))
    table = list(csv.DictReader(io.StringIO(csv_text(replica_rows(result.summary)))))
    for row in table:
        own = [request for request in requests if request["replica"] == row["replica"]]
        assert len(own) == int(row["requests"])
        assert sum(int(request["output_tokens"]) for request in own) == int(row["tokens"])


def test_requests_are_the_same_however_many_replicas(trace: Path) -> None:
    """What a request is made of does not depend on who serves it, so that numbers of machines can be compared."""
    drawn = [
        [(one.sequence, one.total_tokens) for one in run(trace, replicas={"count": count}).requests]
        for count in (1, 2, 5)
    ]
    assert drawn[0] == drawn[1] == drawn[2]


def test_more_machines_wait_less(trace: Path) -> None:
    """Under a load that is too much for one, time in the queue falls with their number."""
    waits = []
    for count in (1, 2, 4):
        result = run(trace, scheduler={"max_batch": 2}, replicas={"count": count, "router": "least_loaded"})
        queueing = result.summary["queueing_s"]
        assert isinstance(queueing, dict)
        waits.append(queueing["mean"])
    assert waits[0] > waits[1] > waits[2]


def test_what_a_router_knows_is_said(trace: Path) -> None:
    """A router that knows what no real one does says so, and others say nothing."""
    told = {}
    for name, parameters in (
        ("round_robin", {}),
        ("cache_affine", {"load_factor": 1.5}),
        ("least_loaded", {"by": "tokens"}),
    ):
        result = run(trace, replicas={"count": 2, "router": {"name": name, **parameters}})
        assumed = result.summary["assumptions"]
        assert isinstance(assumed, list)
        told[name] = [line for line in assumed if line.startswith("the router knows")]
    assert [len(told[name]) for name in ("round_robin", "cache_affine", "least_loaded")] == [0, 1, 1]
    assert "prompt will pick" in told["cache_affine"][0]


def test_a_timeline_has_a_group_of_tracks_for_each(trace: Path, tmp_path: Path) -> None:
    """All in one file, in the same time."""
    path = tmp_path / "timeline.json.gz"
    scenario = build_scenario(values(trace, workload=OPEN | {"requests": 4}, replicas={"count": 2}), "test")
    with_timeline = simulate(scenario, timeline_path=path)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {1: "replica 0", 2: "replica 1"}
    ends = {pid: max(event["ts"] for event in events if event["pid"] == pid) for pid in names}
    makespan_ns = with_timeline.summary["makespan_ns"]
    assert isinstance(makespan_ns, int)
    assert max(ends.values()) <= makespan_ns / 1000
    assert summary_json(with_timeline.summary) == summary_json(simulate(scenario).summary)


@pytest.mark.parametrize(
    ("stop", "reason"), [({"requests": 5}, "requests"), ({"tokens": 30}, "tokens"), ({"time": "200 ms"}, "time")]
)
@pytest.mark.parametrize("workload", [OPEN, USERS])
def test_bounds_are_of_all_together(
    stop: dict[str, object], reason: str, workload: dict[str, object], trace: Path
) -> None:
    """The run ends when all replicas together have reached a bound, each with the step that it is in."""
    result = run(trace, workload=workload, stop=stop, scheduler={"max_batch": 1}, replicas={"count": 3})
    service = result.summary["service"]
    assert isinstance(service, dict)
    assert service["stopped_by"] == reason
    assert service["littles_law"]["residual_ns"] == 0
    if reason == "requests":
        assert 5 <= service["finished"] <= 5 + 2  # the others may be in a request's last step
    assert service["finished"] < 18
    assert service["arrived"] == service["finished"] + service["in_system_at_end"]


def test_an_interrupt_ends_all(trace: Path) -> None:
    """Each replica ends with its step; the handler is put back."""
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def on_step(step: object, now_ns: int, snapshot: object) -> None:
        del step, snapshot
        steps.append(now_ns)
        if len(steps) == 9:
            os.kill(os.getpid(), signal.SIGINT)

    result = simulate(build_scenario(values(trace, workload=USERS, replicas={"count": 3}), "test"), on_step=on_step)
    service = result.summary["service"]
    assert isinstance(service, dict)
    assert (service["stopped_by"], service["partial"]) == ("interrupted", True)
    assert len(steps) <= 9 + 2
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"workload": None, "replicas": {"count": 2}}, "replicas: is for a service; say in workload what arrives"),
        ({"replicas": {"count": 0}}, "replicas.count"),
        ({"replicas": {"router": "random"}}, "replicas.count"),
        ({"replicas": {"count": 2, "router": "randm"}}, "router: 'randm' is not known; did you mean 'random'?"),
        ({"replicas": {"count": 2, "router": {"name": "random", "seed": 4}}}, "router: random: has no parameter seed"),
        ({"replicas": {"count": 2, "router": {"name": "choices", "count": 1.5}}}, "count is 1.5; write a whole number"),
        ({"replicas": {"count": 2, "router": {"name": "choices", "by": "luck"}}}, "router: choices: by is 'luck'"),
        ({"replicas": {"count": 2, "sessions": "glued"}}, "replicas.sessions"),
        ({"replicas": {"count": 2, "router": "tests.replicas.test_service:Nowhere"}}, "chose replica 2 of 2"),
    ],
)
def test_misfits(changed: dict[str, object], fault: str, trace: Path) -> None:
    """What does not go together is refused, with a remedy."""
    with pytest.raises(InputError) as raised:
        run(trace, **changed)
    assert fault in str(raised.value)


class Nowhere:
    """A user's router that counts from 1."""

    def __init__(self, replicas: object) -> None:
        del replicas

    def choose(self, request: object) -> int:
        """Return one too many."""
        del request
        return 2


def test_a_scenario_reads_back(trace: Path) -> None:
    """What is written beside a result runs the same again; options reach into the key."""
    given = values(trace)
    set_path(given, "replicas.count", 2)
    set_path(given, "replicas.router.name", "cache_affine")
    set_path(given, "replicas.router.load_factor", 2.0)
    scenario = build_scenario(given, "test")
    assert build_scenario(plain(scenario), "test") == scenario


@pytest.mark.parametrize("router", REQUEST_ROUTER)
def test_the_example_runs(router: str) -> None:
    """With each router, on the trace that ships."""
    example = Path(__file__).resolve().parents[2] / "examples" / "replicas.yaml"
    given = read_scenario(example)
    set_path(given, "workload.requests", 40)
    set_path(given, "replicas.router", router)
    result = simulate(build_scenario(given, str(example)))
    assert result.summary["requests_finished"] == 40
    if router != "consistent_hash":  # there are few labels
        assert all(row["requests"] for row in rows_of(result)), "no machine is left without work"
