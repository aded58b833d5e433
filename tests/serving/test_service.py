"""Scenarios with a workload: what they accept, what comes out, how they end."""

import csv
import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.routing import sticky_zipf
from hardware_profiles.errors import InputError
from simulator.new_folder import csv_text
from simulator.report import render_summary
from simulator.results import request_rows, summary_json
from simulator.run import RunResult, simulate
from simulator.scenario import build_scenario, plain, read_scenario, relative_to
from simulator.serving.record import CAUSES

WORKLOAD = {
    "arrivals": {"process": "poisson", "rate": "20 /s"},
    "prompt_tokens": {"mean": 60, "cv": 1, "least": 2, "most": 400},
    "output_tokens": 8,
    "requests": 12,
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic trace of gpt-oss-20b's shape."""
    path = tmp_path_factory.mktemp("service") / "trace.safetensors"
    sticky_zipf(path, num_tokens=800, sequence_tokens=100, num_layers=24, num_experts=32, top_k=4, seed=5)
    return path


def values(trace: Path, **changed: object) -> dict[str, object]:
    """Return a scenario's plain values."""
    return {
        "trace": str(trace),
        "model": "gpt-oss-20b",
        "hardware": "rtx-4090",
        "cache": {"frac": 0.75},
        "workload": WORKLOAD,
        **changed,
    }


def run(trace: Path, **changed: object) -> RunResult:
    """Run a scenario."""
    return simulate(build_scenario(values(trace, **changed), "test"))


def service_of(result: RunResult) -> dict[str, Any]:
    """Return what the summary says of the service."""
    service = result.summary["service"]
    assert isinstance(service, dict)
    return service


@pytest.mark.parametrize("policy", ["prefill_first", "decode_first", "mixed"])
def test_all_are_answered(policy: str, trace: Path) -> None:
    """The time adds up, and so does every request's; the same seed gives the same bytes."""
    result = run(trace, scheduler={"policy": policy, "max_step_tokens": 128}, slo={"default": {"ttft": "1 s"}})
    service = service_of(result)
    assert (service["arrived"], service["finished"], service["stopped_by"]) == (12, 12, "end of workload")
    assert result.summary["tokens"] == 12 * 8
    assert service["littles_law"]["residual_ns"] == 0
    attribution_ns = result.summary["attribution_ns"]
    assert isinstance(attribution_ns, dict)
    assert sum(attribution_ns.values()) == result.summary["makespan_ns"]
    rows = list(csv.DictReader(io.StringIO(csv_text(request_rows(result)))))
    for row in rows:
        stalls = sum(int(row[f"stall_{cause}_ns"]) for cause in CAUSES)
        assert int(row["queue_ns"]) + int(row["blocked_ns"]) + stalls == int(row["e2e_ns"])
        assert int(row["blocked_ns"]) >= 0
    again = run(trace, scheduler={"policy": policy, "max_step_tokens": 128}, slo={"default": {"ttft": "1 s"}})
    assert summary_json(again.summary) == summary_json(result.summary)
    render_summary(result.summary, "a service")


def test_policies_see_the_same_requests(trace: Path) -> None:
    """What a request is made of does not depend on who is served first."""
    drawn = [
        [(request.sequence, request.total_tokens) for request in run(trace, scheduler=scheduler).requests]
        for scheduler in ({"policy": "prefill_first"}, {"policy": "decode_first", "max_batch": 3})
    ]
    assert drawn[0] == drawn[1]


def test_experts_make_room_for_kv_cache(trace: Path) -> None:
    """With dynamic memory slots are given up while requests are long, and come back; with fixed, none."""
    workload = {
        "arrivals": {"process": "poisson", "rate": "2 /s"},
        "prompt_tokens": 1500,
        "output_tokens": 4,
        "requests": 6,
    }
    small = {"gpu.memory": "9 GiB"}
    result = run(trace, workload=workload, hardware_set=small, cache={}, scheduler={"memory": "dynamic"})
    service = service_of(result)
    assert service["finished"] == 6
    assert 0 < service["expert_slots_taken_back"] <= service["expert_slots_given_up"]
    slots = service["over_time"]["expert_slots"]
    assert min(slots) < max(slots)
    fixed = service_of(run(trace, workload=workload, hardware_set=small, cache={"frac": 0.3}))
    assert (fixed["expert_slots_given_up"], fixed["finished"]) == (0, 6)


def test_swapping_goes_over_the_links(trace: Path) -> None:
    """With room for hardly more than a request, some are swapped out and back, and the stream waits for it."""
    workload = {**WORKLOAD, "prompt_tokens": 60, "output_tokens": 40}
    scheduler = {"kv_cache": "8 MiB", "preemption": "swap"}
    result = run(trace, workload=workload, scheduler=scheduler)
    service = service_of(result)
    assert service["finished"] == 12
    assert service["preemptions"] > 0
    assert service["kv_out_bytes"] == service["kv_in_bytes"] > 0
    attribution_ns = result.summary["attribution_ns"]
    assert isinstance(attribution_ns, dict)
    assert attribution_ns["kv_swap"] > 0


@pytest.mark.parametrize("scheduler", [{"kv_cache": "8 MiB", "preemption": "swap"}, {"memory": "dynamic"}])
def test_experts_come_from_nvme(scheduler: dict[str, object], trace: Path) -> None:
    """With half of the experts in host memory, all are answered, some later; time still adds up."""
    machine = {"nvme.bandwidth": "7 GB/s", "nvme.latency": "45 us"}
    host_cache = {"frac": 0.5, "read_ahead": 1, "start": "popular"}
    result = run(trace, scheduler=scheduler, hardware_set=machine, host_cache=host_cache)
    assert service_of(result)["finished"] == 12
    attribution_ns = result.summary["attribution_ns"]
    assert isinstance(attribution_ns, dict)
    assert attribution_ns["exposed_nvme"] > 0
    assert sum(attribution_ns.values()) == result.summary["makespan_ns"]
    without = run(trace, scheduler=scheduler, hardware_set=machine)
    assert int(str(result.summary["makespan_ns"])) > int(str(without.summary["makespan_ns"]))


def test_swapped_kv_cache_takes_room_in_host_memory(trace: Path) -> None:
    """What the GPU has for KV cache is set apart: the error says so, and by how much it does not fit."""
    machine = {"nvme.bandwidth": "7 GB/s", "host.memory": "4 GiB"}
    scheduler = {"kv_cache": "1 GiB", "preemption": "swap"}
    with pytest.raises(InputError, match=r"more than there is: host\.memory of 4 GiB, less 1 GiB for swapped KV cache"):
        run(trace, scheduler=scheduler, hardware_set=machine, host_cache={"bytes": "3.5 GiB"})
    run(trace, hardware_set=machine, host_cache={"bytes": "3.5 GiB"})


def test_a_prefetcher_and_gates_work_in_a_service(trace: Path) -> None:
    """Policies see a service's steps as any others."""
    result = run(trace, scheduler={"policy": "mixed", "max_step_tokens": 32}, prefetch={"name": "gate_lookahead"})
    assert service_of(result)["finished"] == 12


def test_a_policy_that_knows_the_future_is_refused(trace: Path) -> None:
    """What comes depends on the run's own speed."""
    with pytest.raises(InputError, match="depends on its own speed"):
        run(trace, eviction={"name": "belady"})


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"batch": 4}, "batch: is for a closed batch, and the scenario has a workload; use scheduler.max_batch"),
        ({"workload": None, "scheduler": {}}, "scheduler: is for a service"),
        ({"scheduler": {"policy": "fifo"}}, "scheduler.policy"),
        ({"scheduler": {"kv_cache": 4}}, "scheduler.kv_cache"),
        ({"stop": {"time": "1"}}, "stop.time"),
        ({"warmup": "soon"}, "warmup: 'soon' is neither mser5, none nor a time with its unit"),
        (
            {"warmup_steps": 3},
            "warmup_steps: is for a closed batch, and the scenario has a workload; use warmup, such as",
        ),
        ({"batching": "balanced"}, "batching: balanced divides a closed batch into steps"),
        ({"system": "expertflow-2410"}, "batching: regroup (with system expertflow-2410) divides"),
        ({"workload": None, "warmup": "none"}, "a closed batch has warmup_steps"),
        ({"slo": {"default": {"itl": 3}}}, "slo.default.itl"),
        ({"workload": WORKLOAD | {"output_tokens": 0}}, "workload.output_tokens"),
        ({"replicas": {"count": 2}, "gpus": {"count": 2}}, "replicas: machines behind a router have one GPU each"),
        ({"workload": "requests.csv"}, "name a request trace as workload: {file: requests.csv}"),
        ({"slo": {"ttft": "2 s"}}, "slo: gives objectives without a class; write slo: {default: {...}}"),
        (
            {"workload": WORKLOAD | {"arrivals": {"process": "poison", "rate": "1 /s"}}},
            "workload.arrivals.process: 'poison' is not known; did you mean 'poisson'?",
        ),
        ({"workload": {}}, "workload: needs one of file, arrivals and merge"),
        ({"cache": {}}, "nothing says how experts and KV cache divide"),
        ({"cache": {"bytes": "40 GiB"}, "hardware_set": {"gpu.memory": "6 GiB"}}, "leave nothing of the GPU's memory"),
    ],
)
def test_misfits(changed: dict[str, object], fault: str, trace: Path) -> None:
    """What does not go together is refused, with a remedy."""
    with pytest.raises(InputError) as raised:
        run(trace, **changed)
    assert fault in str(raised.value)


def test_a_system_runs_without_its_batching(trace: Path) -> None:
    """As the refusal says."""
    few = {**WORKLOAD, "requests": 3}
    assert service_of(run(trace, batching="together", workload=few))["finished"] == 3


def test_what_a_service_could_not_use_is_said(trace: Path) -> None:
    """Objectives and priorities of classes that nobody is of, and requests that could never be served."""
    scheduler = {"priorities": {"default": 1, "chat": 2}, "kv_cache": "2 MiB"}
    result = run(trace, slo={"interactive": {"ttft": "1 s"}, "default": {"ttft": "1 s"}}, scheduler=scheduler)
    warnings = result.summary["warnings"]
    assert isinstance(warnings, list)
    of_classes = [line for line in warnings if "no request of that class" in line]
    assert [line.split(",")[0] for line in of_classes] == ["slo names interactive", "scheduler.priorities names chat"]
    refused = service_of(result)["refused"]["too_long"]
    assert [line.split(" requests")[0] for line in warnings if "refused" in line] == [f"{refused} of 12"]
    assert 0 < refused < 12


@pytest.mark.parametrize("replicas", [None, {"count": 2}])
def test_tables_fit_a_terminal(replicas: dict[str, object] | None, trace: Path) -> None:
    """Nothing is cut short in 80 columns, with times and rates of any length."""
    result = run(trace, slo={"default": {"ttft": "1 s"}}, replicas=replicas)
    text = io.StringIO()
    Console(file=text, width=80).print(render_summary(result.summary, "a service"))
    assert "\u2026" not in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 80


def test_an_interrupt_ends_with_the_step(trace: Path) -> None:
    """What there is by then is written, marked partial; the handler is put back."""
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def on_step(step: object, now_ns: int, snapshot: object) -> None:
        del step, snapshot
        steps.append(now_ns)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    result = simulate(build_scenario(values(trace), "test"), on_step=on_step)
    assert (service_of(result)["stopped_by"], service_of(result)["partial"]) == ("interrupted", True)
    assert len(steps) == 5
    assert signal.getsignal(signal.SIGINT) is before
    assert service_of(result)["in_system_at_end"] > 0
    assert service_of(result)["littles_law"]["residual_ns"] == 0


def test_files_of_a_workload_stand_beside_the_scenario(tmp_path: Path) -> None:
    """Names of files are taken from the scenario's folder, and written back relative to the result's."""
    path = tmp_path / "a" / "scenario.yaml"
    path.parent.mkdir()
    path.write_text(
        "trace: t.safetensors\nmodel: gpt-oss-20b\nhardware: rtx-4090\n"
        "workload: {merge: [{file: x.csv}, {arrivals: {process: poisson, rate: 1 /s}, lengths: {file: y.csv}}]}\n",
        encoding="utf-8",
    )
    read = read_scenario(path)
    folder = path.parent
    assert read["workload"] == {
        "merge": [
            {"file": str(folder / "x.csv")},
            {"arrivals": {"process": "poisson", "rate": "1 /s"}, "lengths": {"file": str(folder / "y.csv")}},
        ]
    }
    moved = relative_to(plain(build_scenario(read, "test")), tmp_path)
    assert moved["workload"]["merge"][0] == {"file": str(Path("a") / "x.csv")}  # type: ignore[index]
