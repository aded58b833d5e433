"""The timeline: every nanosecond of the summary is in it, once."""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulator.run import RunResult, simulate
from simulator.scenario import build_scenario
from simulator.timeline import DECISIONS, GPU_STREAM, H2D_LINK, STALLS, microseconds
from tests.cli.conftest import CommandLine
from tests.traces import make
from traces.format import write_trace

GUESS = "tests.cli.guess:Guess"
MACHINES: dict[str, dict[str, object]] = {
    "on demand": {"cache": {"frac": 0.4}},
    "slots that wait": {"cache": {"experts": 8}, "batch": 4},
    "prefetch": {"cache": {"frac": 0.6}, "eviction": "belady", "prefetch": {"name": "perfect", "lookahead_layers": 2}},
    "prefetch in chunks": {
        "cache": {"frac": 0.6, "scope": "global"},
        "batch": 2,
        "prefetch": {"name": "perfect", "lookahead_layers": 3},
        "hardware_set": {"link.h2d.chunk": "5 kB"},
    },
    "wrong guesses": {"cache": {"frac": 0.4, "scope": "global"}, "prefetch": GUESS},
    "wrong guesses in chunks": {
        "cache": {"frac": 0.4, "scope": "global"},
        "batch": 2,
        "prefetch": GUESS,
        "hardware_set": {"link.h2d.chunk": "5 kB", "runtime.per_layer": "7 us", "runtime.per_step": "11 us"},
    },
    "grouped kernels": {
        "cache": {"frac": 0.6},
        "batch": 3,
        "prefetch": "perfect",
        "hardware_set": {"runtime.expert_kernels": "grouped", "durations.expert": "33 us"},
    },
    "a roofline": {"cache": {"frac": 0.5}, "batch": 2, "hardware": "rtx-4090", "prefill_chunk_tokens": 1},
}
MODEL = (
    "name: tiny\nsource: made for a test\nhidden_size: 64\nnum_layers: 4\nvocab_size: 256\nnum_experts: 8\ntop_k: 2\n"
    "expert_intermediate_size: 32\nnum_heads: 4\nnum_kv_heads: 4\nhead_dim: 16\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A run and its timeline."""

    result: RunResult
    events: Sequence[dict[str, Any]]

    def slices(self, track: int) -> list[dict[str, Any]]:
        """Return the slices of a track, in ns, by time."""
        found = [event for event in self.events if event["ph"] == "X" and event["tid"] == track]
        for event in found:
            event["start_ns"], event["dur_ns"] = ns(event["ts"]), ns(event["dur"])
            event["end_ns"] = event["start_ns"] + event["dur_ns"]
        return sorted(found, key=lambda event: (event["start_ns"], event["end_ns"]))

    def total_ns(self, track: int, *names: str) -> int:
        """Add up the slices of a track, those of some names or all."""
        return sum(event["dur_ns"] for event in self.slices(track) if not names or event["name"] in names)


def ns(text: str) -> int:
    """Read microseconds with three decimals as whole nanoseconds, without a float between."""
    whole, _, decimals = text.partition(".")
    assert len(decimals) == 3
    return int(whole + decimals)


def read(path: Path) -> list[dict[str, Any]]:
    """Read the events of a timeline, numbers with a point as they are written."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        document = json.load(file, parse_float=str)
    assert document["displayTimeUnit"] == "ns"
    events: list[dict[str, Any]] = document["traceEvents"]
    return events


@pytest.fixture(scope="module", params=MACHINES)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Run 20 tokens of two sequences through 4 layers of 8 experts."""
    folder = tmp_path_factory.mktemp("timeline")
    write_trace(folder / "t.safetensors", make.sequences((9, 6, 5), num_layers=4, seed=5), make.METADATA)
    (folder / "model.yaml").write_text(MODEL, encoding="utf-8")
    values: dict[str, object] = {
        "trace": str(folder / "t.safetensors"),
        "model": str(folder / "model.yaml"),
        "hardware": "fixed-costs",
    }
    scenario = build_scenario(values | MACHINES[request.param], request.param)
    path = folder / "timeline.json.gz"
    result = simulate(scenario, timeline_path=path)
    assert [item.name for item in folder.glob(".*")] == []
    assert simulate(scenario).summary == result.summary, "the timeline changes nothing"
    return Recorded(result=result, events=read(path))


def test_the_runs_have_what_they_are_there_for(recorded: Recorded, request: pytest.FixtureRequest) -> None:
    """Among them are transfers that give way, fetches that wait for a slot, wasted prefetches and queues behind them."""
    summary: Any = recorded.result.summary
    causes, prefetches = summary["attribution_ns"], summary["prefetches"]
    wanted = {
        "slots that wait": [summary["wave_fetches"]],
        "prefetch": [prefetches["late"], prefetches["useful"]],
        "wrong guesses": [prefetches["wasted"], prefetches["dropped"], causes["queued_behind_prefetch"]],
        "wrong guesses in chunks": [
            sum(event["dur_ns"] < summary["transfer_ns"] for event in recorded.slices(H2D_LINK)),
            causes["runtime_overhead"],
            causes["queued_behind_prefetch"],
        ],
    }
    assert all(wanted.get(request.node.callspec.params["recorded"], [1]))


def test_phases_and_tracks_are_those_of_the_format(recorded: Recorded) -> None:
    """Every event has what Perfetto asks for, and every track a name."""
    assert {event["ph"] for event in recorded.events} <= set("XisfCM")
    named = {event["tid"] for event in recorded.events if event["name"] == "thread_name"}
    assert named == {GPU_STREAM, H2D_LINK, STALLS, DECISIONS}
    for event in recorded.events:
        assert {"name", "pid", "tid", "ts", "args"} <= set(event)
        assert event["tid"] in named or event["ph"] == "M"


@pytest.mark.parametrize("track", [GPU_STREAM, H2D_LINK, STALLS])
def test_slices_of_a_serial_resource_do_not_overlap(recorded: Recorded, track: int) -> None:
    """One kernel, one transfer, one stall at a time."""
    slices = recorded.slices(track)
    assert slices
    for first, second in pairwise(slices):
        assert first["end_ns"] <= second["start_ns"]
    makespan_ns: Any = recorded.result.summary["makespan_ns"]
    assert slices[-1]["end_ns"] <= makespan_ns


def test_kernels_and_stalls_fill_the_makespan(recorded: Recorded) -> None:
    """The stream works or waits: no gap between the two, no overlap."""
    slices = sorted(recorded.slices(GPU_STREAM) + recorded.slices(STALLS), key=lambda event: event["start_ns"])
    assert slices[0]["start_ns"] == 0
    assert all(first["end_ns"] == second["start_ns"] for first, second in pairwise(slices))
    assert slices[-1]["end_ns"] == recorded.result.summary["makespan_ns"]


def test_durations_add_up_to_the_summary(recorded: Recorded) -> None:
    """To the nanosecond, by cause."""
    summary: Any = recorded.result.summary
    causes = summary["attribution_ns"]
    fixed = ("non-expert", "head and sampling")
    overhead = causes["runtime_overhead"]
    assert recorded.total_ns(GPU_STREAM, *fixed) == causes["non_expert_compute"] + causes["step_compute"] + overhead
    assert recorded.total_ns(GPU_STREAM) - recorded.total_ns(GPU_STREAM, *fixed) == causes["expert_compute"]
    waits = ("exposed_demand_fetch", "exposed_late_prefetch", "queued_behind_prefetch")
    assert recorded.total_ns(STALLS) == sum(causes[cause] for cause in waits)
    assert recorded.total_ns(H2D_LINK) / summary["makespan_ns"] == summary["busy_frac"]["h2d"]
    for name, key in (("demand fetch", "h2d_demand_bytes"), ("prefetch", "h2d_prefetch_bytes")):
        served: Counter[str] = Counter()
        for event in recorded.slices(H2D_LINK):
            served[event["args"]["expert"]] += event["dur_ns"] * (event["name"] == name)
        whole = [time // summary["transfer_ns"] for time in served.values()]  # the end of the run cuts some short
        assert sum(whole) == summary[key] // summary["expert_bytes"]
    computed = sum(len(event["args"]["experts"]) for event in recorded.slices(GPU_STREAM) if event["name"] not in fixed)
    assert computed == summary["accesses"]


def test_decisions_are_those_of_the_summary(recorded: Recorded) -> None:
    """Each gate is there with its hits and misses, each prefetch that was issued, each step."""
    summary: Any = recorded.result.summary
    instants = [event for event in recorded.events if event["ph"] == "i"]
    assert {event["tid"] for event in instants} == {DECISIONS}
    names = Counter(event["name"] for event in instants)
    assert names["prefill step"] + names["decode step"] == summary["steps"]
    assert names["decode step"] == summary["decode_steps"]
    assert names["gate"] == 4 * summary["steps"]
    assert names["prefetch"] == summary["prefetches"]["issued"]
    gates = [event["args"] for event in instants if event["name"] == "gate"]
    assert sum(len(gate["hits"]) for gate in gates) == summary["hits"]
    assert sum(len(gate["misses"]) for gate in gates) == summary["misses"]
    assert sum(gate["experts"] for gate in gates) == summary["accesses"]
    taken = [event["args"]["experts"] for event in recorded.events if event["name"] == "expert slots taken"]
    assert 0 < max(taken) <= summary["cache"]["experts"]


def test_flows_lead_from_a_transfer_to_the_kernel_that_uses_it(recorded: Recorded) -> None:
    """An id starts once and ends at most once, later, inside a slice that names the expert which the transfer brought."""
    starts = {event["id"]: event for event in recorded.events if event["ph"] == "s"}
    ends = {event["id"]: event for event in recorded.events if event["ph"] == "f"}
    phases = Counter(event["ph"] for event in recorded.events)
    assert (len(starts), len(ends)) == (phases["s"], phases["f"])
    assert set(ends) <= set(starts)
    assert ends
    transfers = {event["start_ns"]: event for event in recorded.slices(H2D_LINK)}
    kernels = {event["start_ns"]: event for event in recorded.slices(GPU_STREAM) if event["dur_ns"]}
    for flow, end in ends.items():
        transfer, kernel = transfers[ns(starts[flow]["ts"])], kernels[ns(end["ts"])]
        assert transfer["args"]["expert"] in kernel["args"]["experts"]
        assert transfer["end_ns"] <= kernel["start_ns"]
    summary: Any = recorded.result.summary
    assert len(ends) == summary["misses"] + summary["late_hits"] + summary["prefetches"]["useful"]


def test_no_expert_is_computed_before_it_has_come(recorded: Recorded) -> None:
    """Replayed from the slices alone: a kernel's experts have all been transferred, in full, before it starts."""
    whole: Any = recorded.result.summary["transfer_ns"]
    served: Counter[str] = Counter()
    transfers = recorded.slices(H2D_LINK)
    computed = 0
    for kernel in recorded.slices(GPU_STREAM):
        while transfers and transfers[0]["end_ns"] <= kernel["start_ns"]:
            transfer = transfers.pop(0)
            served[transfer["args"]["expert"]] += transfer["dur_ns"]
        for expert in kernel["args"].get("experts", []):
            assert served[expert] >= whole, "the cache starts empty"
            computed += 1
    assert computed


def test_a_timeline_in_a_result_folder(moesim: CommandLine, place: Path) -> None:
    """The same file is beside the results, and the summary as without it."""
    assert moesim("run", "ok.yaml", "--out", "with", "--timeline").code == 0
    assert moesim("run", "ok.yaml", "--out", "without").code == 0
    summaries = [(place / folder / "summary.json").read_bytes() for folder in ("with", "without")]
    assert summaries[0] == summaries[1]
    kernels = [event for event in read(place / "with" / "timeline.json.gz") if event["ph"] == "X"]
    assert {(event["name"], event["ts"], event["dur"]) for event in kernels if event["tid"] == STALLS} == {
        ("wait for the link", ts, dur)
        for ts, dur in [
            ("200.000", "1000.000"),
            ("1300.000", "900.000"),
            ("2300.000", "900.000"),
            ("3500.000", "1000.000"),
            ("4600.000", "900.000"),
            ("5600.000", "900.000"),
            ("7150.000", "800.000"),
            ("8350.000", "900.000"),
            ("10100.000", "900.000"),
        ]
    }


def test_microseconds_are_exact() -> None:
    """A float would lose nanoseconds after a hundred days."""
    assert [microseconds(time) for time in (0, 1, 999, 1000, 10**18 + 1)] == [
        "0.000",
        "0.001",
        "0.999",
        "1.000",
        "1000000000000000.001",
    ]
