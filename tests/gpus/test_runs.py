"""Whole scenarios on several GPUs: what comes out adds up, what is not carried out is refused, one GPU is what it was."""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hardware_profiles.errors import InputError
from simulator.eviction import EVICTION
from simulator.order import ORDER
from simulator.prefetch import PREFETCH
from simulator.results import request_rows, summary_json
from simulator.run import RunResult, simulate
from simulator.scenario import build_scenario
from tests.cli.conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]
NANO = {
    "trace": str(ROOT / "traces" / "nano" / "trace.safetensors"),
    "model": "moesim-nano",
    "hardware": "h100",
    "cache": {"frac": 0.1},
    "batch": 6,
    "sequences": 9,
    "max_tokens": 150,
}
SERVICE = {
    "trace": NANO["trace"],
    "model": "moesim-nano",
    "hardware": "h100",
    "cache": {"frac": 0.1},
    "workload": {
        "arrivals": {"process": "poisson", "rate": "20000 /s"},
        "prompt_tokens": 30,
        "output_tokens": 12,
        "requests": 40,
    },
    "scheduler": {"policy": "mixed", "max_batch": 8, "max_step_tokens": 64},
}
TWO = {"count": 2}


def run(values: Mapping[str, object], gpus: Mapping[str, object] | None = None, **more: Any) -> RunResult:  # noqa: ANN401
    """Simulate a scenario with some of its values changed."""
    chosen = {"gpus": dict(gpus)} if gpus is not None else {}
    return simulate(build_scenario({**values, **chosen, **more}, "test"), source="test")


def summary_of(
    values: Mapping[str, object],
    gpus: Mapping[str, object] | None = None,
    **more: Any,  # noqa: ANN401
) -> Mapping[str, Any]:
    """Return the summary of a simulated scenario."""
    return run(values, gpus, **more).summary


def check(summary: Mapping[str, Any]) -> None:
    """Hold a summary to the laws of conservation."""
    gpus = summary["gpus"]
    makespan_ns = summary["makespan_ns"]
    assert sum(summary["attribution_ns"].values()) == makespan_ns
    for one in gpus["each"]:
        assert sum(one["attribution_ns"].values()) == makespan_ns
        assert one["accesses"] == one["hits"] + one["late_hits"] + one["misses"]
        assert 0 <= one["busy_frac"]["h2d"] <= 1
        assert 0 <= one["busy_frac"]["gpu"] <= 1
    for name in ("accesses", "hits", "late_hits", "misses"):
        assert summary[name] == sum(one[name] for one in gpus["each"])
    host_bytes = summary["h2d_demand_bytes"] + summary["h2d_prefetch_bytes"]
    assert host_bytes == sum(one["h2d_bytes"] for one in gpus["each"]) == gpus["upstream"]["bytes"]
    assert gpus["peer_bytes"] == sum(one["peer_bytes"] for one in gpus["each"])
    assert gpus["all_to_all"]["bytes"] == sum(one["all_to_all_sent_bytes"] for one in gpus["each"])
    assert summary["busy_frac"]["h2d"] == pytest.approx(
        sum(one["busy_frac"]["h2d"] for one in gpus["each"]) / gpus["count"]
    )
    assert gpus["upstream"]["used_frac"] <= 1
    assert gpus["transitions"]["cross_gpu"] <= gpus["transitions"]["pairs"]
    assert all(share is None or 1 <= share <= gpus["count"] for share in gpus["imbalance"].values())


@pytest.mark.parametrize(
    "gpus",
    [
        {"count": 2},
        {"count": 3, "peers": "nvlink"},
        {"count": 4, "experts": "replicated", "replicas": 4, "peers": "nvlink"},
        {"count": 2, "experts": "shared"},
        {"count": 4, "experts": "shared", "peers": "nvlink"},
    ],
)
@pytest.mark.parametrize(
    "policies",
    [{}, {"prefetch": "perfect", "eviction": "belady"}, {"placement": "popular", "warmup_steps": 5, "eviction": "lfu"}],
)
def test_what_comes_out_adds_up(gpus: Mapping[str, object], policies: Mapping[str, object]) -> None:
    """For all kinds of homes, with prefetches, oracles, a warm start and a warm-up; twice the same bytes."""
    summary = summary_of(NANO, gpus, **policies)
    check(summary)
    assert summary["tokens"] > 0
    assert summary_json(summary) == summary_json(summary_of(NANO, gpus, **policies))


def test_one_gpu_is_what_it_was() -> None:
    """A count of 1 changes no byte of the summary."""
    assert summary_json(summary_of(NANO, {"count": 1})) == summary_json(summary_of(NANO))


def test_copies_slow_one_gpu_and_not_several() -> None:
    """And a run on several says so, where its machine has a share that it leaves out."""
    quick = NANO | {"prefetch": "gate_lookahead"}
    slow = quick | {"hardware_set": {f"{part}.slowed_by_copies": "50 %" for part in ("runtime", "cpu")}}
    assert summary_of(slow)["makespan_ns"] > summary_of(quick)["makespan_ns"]
    left_out, without = summary_of(slow, TWO), summary_of(quick, TWO)
    assert left_out["makespan_ns"] == without["makespan_ns"]
    assert [one for one in left_out["warnings"] if one not in without["warnings"]] == [
        f"{part}.slowed_by_copies of the machine is left out: with several GPUs nothing is slowed by copies"
        for part in ("runtime", "cpu")
    ]
    assert not any("slowed_by_copies" in warning for warning in summary_of(slow, {"count": 1})["warnings"])


def test_experts_of_all_gpus_are_those_of_one() -> None:
    """The same tokens need the same experts, wherever they are computed: of each step S is divided, without replicas."""
    one, two = summary_of(NANO, cache={"frac": 1.0}), summary_of(NANO, TWO, cache={"frac": 1.0})
    assert (two["accesses"], two["tokens"]) == (one["accesses"], one["tokens"])
    assert two["misses"] == one["misses"], "each expert is fetched once where all fit"


def test_a_short_upstream_takes_longer() -> None:
    """And is used more."""
    ample = summary_of(NANO, TWO)
    short = summary_of(NANO, TWO, hardware_set={"link.upstream": "20 GB/s"})
    check(short)
    assert short["makespan_ns"] > ample["makespan_ns"]
    assert short["gpus"]["upstream"]["bytes_per_s"] == 20 * 10**9
    assert short["gpus"]["upstream"]["used_frac"] > ample["gpus"]["upstream"]["used_frac"]
    assert short["misses"] == ample["misses"]


def test_affinity_is_fitted_on_some_sequences_and_judged_on_others() -> None:
    """On sequences that it has not seen, fewer transitions lead to another GPU than where experts are dealt out."""
    fit = {"fit": {"sequences": 20}, "sequences": 6}
    in_turn = summary_of(NANO, TWO, **fit)["gpus"]
    placed = summary_of(NANO, {"count": 2, "experts": "affinity"}, **fit)["gpus"]
    assert placed["homes"]["method"] == "greedy"
    assert "variables" in placed["homes"]["notes"][0]
    assert placed["homes"]["training_cross_gpu"] < placed["homes"]["training_transitions"] / 2
    assert placed["transitions"]["pairs"] == in_turn["transitions"]["pairs"]
    assert placed["transitions"]["cross_gpu_frac"] < 0.9 * in_turn["transitions"]["cross_gpu_frac"]


def test_replicas_keep_tokens_at_home() -> None:
    """With the most popular experts everywhere less is sent; with all of them nothing."""
    sent = [summary_of(NANO, TWO)["gpus"]["all_to_all"]["bytes"]]
    for replicas in (8, 32):
        gpus = {"count": 2, "experts": "replicated", "replicas": replicas}
        sent.append(summary_of(NANO, gpus)["gpus"]["all_to_all"]["bytes"])
    assert sent[0] > sent[1] > sent[2] == 0


def test_neighbours_spare_the_host() -> None:
    """Where all GPUs need the same experts, some come from a neighbour, and fewer from the host; nano's are small."""
    shared, near = {"count": 2, "experts": "shared"}, {"peers.nvlink.latency": "100 ns"}
    alone = summary_of(NANO, shared)
    together = summary_of(NANO, {**shared, "peers": "nvlink"}, hardware_set=near)
    check(together)
    assert alone["gpus"]["peer_bytes"] == 0
    assert together["gpus"]["peer_bytes"] > 0
    assert together["gpus"]["upstream"]["bytes"] < alone["gpus"]["upstream"]["bytes"]
    assert together["makespan_ns"] < alone["makespan_ns"]


@pytest.mark.parametrize("experts", ["partitioned", "shared"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("prefetch", name) for name in PREFETCH]
    + [("eviction", name) for name in EVICTION]
    + [("order", n) for n in ORDER],
)
def test_policies_bear_gpus_without_tokens(kind: str, name: str, experts: str) -> None:
    """One sequence at a time on three GPUs: S is empty now and then. Whatever runs on one GPU runs, or is refused."""
    values = {
        **NANO,
        "batch": 1,
        "max_tokens": 12,
        "fit": {"sequences": 3},
        "cache": {"frac": 0.2, "staging": 2},
        kind: name,
    }
    run(values)
    gpus = {"count": 3, "experts": experts}
    if name == "stream_layers":
        with pytest.raises(InputError, match="whole layers"):
            run(values, gpus)
        return
    check(summary_of(values, gpus))


@pytest.mark.parametrize("gpus", [{"count": 2}, {"count": 3, "experts": "shared", "peers": "nvlink"}])
def test_a_service(gpus: Mapping[str, object]) -> None:
    """All requests are answered, and the time of each is divided without remainder, exchanges included."""
    result = run(SERVICE, gpus)
    summary: Mapping[str, Any] = result.summary
    check(summary)
    service = summary["service"]
    assert service["finished"] == 40
    assert service["littles_law"]["residual_ns"] == 0
    for row in request_rows(result):
        stalls = [value for name, value in row.items() if name.startswith("stall_")]
        assert sum([*stalls, row["queue_ns"], row["blocked_ns"]]) == row["e2e_ns"]  # type: ignore[list-item]
        assert "stall_all_to_all_ns" in row
    assert "all_to_all" in service["classes"]["default"]["stalls_ns"]


def test_a_service_on_two_gpus_has_the_memory_of_both() -> None:
    """KV cache of all GPUs counts as one; requests get through faster."""
    one, two = summary_of(SERVICE), summary_of(SERVICE, TWO)
    assert two["service"]["kv_capacity_bytes"] == 2 * one["service"]["kv_capacity_bytes"]


REFUSED = [
    ({"miss": "cpu"}, "miss: cpu"),
    ({"slots": "popularity"}, "slots: popularity"),
    ({"placement": "affinity"}, "placement: affinity"),
    ({"tiles": {"count": 2}}, "tiles"),
    ({"low_precision": {"format": "int4_g128"}}, "low_precision"),
    ({"cache": {"frac": 0.1, "write_back": True}}, "cache.write_back"),
    ({"prefetch": "stream_layers"}, "prefetch: whole layers"),
    ({"gpus": {"count": 33}}, "33 is more than the 32 experts"),
    ({"gpus": {"count": 2, "experts": "replicated"}}, "gpus.replicas: 0"),
    ({"gpus": {"count": 2, "replicas": 3}}, "gpus.replicas: is for"),
    ({"gpus": {"count": 2, "experts": "affinity"}}, "fit.sequences"),
    ({"gpus": {"count": 2, "peers": "pcie"}}, "peers.pcie.bandwidth"),
    ({"gpus": {"count": 2, "experts": "somewhere"}}, "gpus.experts"),
    ({"gpus": {"count": 0}}, "gpus.count"),
]


@pytest.mark.parametrize(("changed", "fault"), REFUSED, ids=[fault for _, fault in REFUSED])
def test_what_is_not_carried_out_is_refused(changed: Mapping[str, object], fault: str) -> None:
    """By key, with what to do."""
    with pytest.raises(InputError, match=re.escape(fault)):
        run({**NANO, "gpus": TWO, **changed})


@pytest.mark.parametrize(
    ("scheduler", "fault"),
    [({"memory": "dynamic"}, "scheduler.memory"), ({"preemption": "swap"}, "scheduler.preemption")],
)
def test_what_a_service_cannot_have(scheduler: Mapping[str, object], fault: str) -> None:
    """By key."""
    with pytest.raises(InputError, match=re.escape(fault)):
        run(SERVICE, TWO, scheduler=dict(scheduler))


def test_an_oracle_of_a_service_is_refused() -> None:
    """As on one GPU."""
    with pytest.raises(InputError, match="depends on its own speed"):
        run(SERVICE, TWO, eviction="belady")


def test_the_command_line(moesim: CommandLine, place: Path) -> None:
    """A table for the GPUs, a folder with a timeline that has a process for each, and faults with exit code 2."""
    outcome = moesim("run", "ok.yaml", "--set", "gpus.count=2", "--out", "several", "--timeline")
    assert outcome.code == 0, outcome.err
    assert "GPUs: experts partitioned" in outcome.out
    summary = json.loads((place / "several" / "summary.json").read_text(encoding="utf-8"))
    check(summary)
    events = json.loads(gzip.decompress((place / "several" / "timeline.json.gz").read_bytes()))["traceEvents"]
    named = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert named == {1: "GPU 0", 2: "GPU 1"}
    for process, one in zip((1, 2), summary["gpus"]["each"], strict=True):
        slices = [event for event in events if event["ph"] == "X" and event["pid"] == process]
        exchanged = sum(round(event["dur"] * 1000) for event in slices if event["name"].startswith("all-to-all"))
        assert exchanged == one["attribution_ns"]["all_to_all"] > 0
    again = moesim("run", "several/scenario.yaml", "--json")
    assert json.loads(again.out) == summary
    refused = moesim("run", "ok.yaml", "--set", "gpus.count=2", "--set", "gpus.peers=nvlink")
    assert refused.code == 2
    assert 'peers.nvlink.bandwidth="50 GB/s"' in refused.err
