"""`host_cache` in a scenario: what it takes, what it refuses, and what comes out."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from simulator.eviction import EVICTION
from simulator.report import render_summary
from simulator.run import RunResult, simulate
from simulator.scenario import build_scenario, read_scenario

EXAMPLES = Path(__file__).parents[1] / "examples"
EXPERT_BYTES = 3 * 64 * 32 * 2
READ = {"durations.nvme_read": "2 ms"}


def run(host_cache: Mapping[str, object] | None, *, machine: Mapping[str, object] = READ, **more: object) -> RunResult:
    """Run the example that is worked out by hand, with eight experts in all, above NVMe."""
    values = read_scenario(EXAMPLES / "fixed_costs.yaml")
    values |= {"hardware_set": dict(machine), **more}
    if host_cache is not None:
        values["host_cache"] = dict(host_cache)
    return simulate(build_scenario(values, "test.yaml"), source="test.yaml")


def host_of(result: RunResult) -> Mapping[str, object]:
    """Return what a summary says of the host."""
    found = result.summary["host_cache"]
    assert isinstance(found, Mapping)
    return found


def test_a_host_that_holds_all_is_none_at_all() -> None:
    """The summary is that of a run without the key, but for the host's own part and for how popularity was known."""
    with_all = dict(run({"experts": 8, "start": "popular"}).summary)
    host = with_all.pop("host_cache")
    without = run(None).summary
    assert isinstance(host, dict)
    assert (host["hits"], host["misses"], host["nvme_reads"]) == (9, 0, 0)
    for summary in (with_all, without):
        assert summary["assumptions"] is not None
    assert {**with_all, "assumptions": None} == {**without, "assumptions": None}


def test_an_empty_host_reads_each_expert_once() -> None:
    """With room for all: eight experts are fetched, one of them twice; each is read once, in 2 ms."""
    result = run({"experts": 8})
    host = host_of(result)
    assert (host["misses"], host["hits"], host["evictions"]) == (8, 1, 0)
    assert (host["nvme_reads"], host["nvme_read_bytes"]) == (8, 8 * EXPERT_BYTES)
    assert host["nvme_busy_ns"] == 8 * 2_000_000
    attribution = result.summary["attribution_ns"]
    assert isinstance(attribution, Mapping)
    assert sum(attribution.values()) == result.summary["makespan_ns"]
    assert attribution["exposed_nvme"] > 0


@pytest.mark.parametrize("name", EVICTION)
def test_every_eviction_policy_works_for_the_host(name: str) -> None:
    """With what they learn from, look at and know: the same objects as for the GPU."""
    values = read_scenario(EXAMPLES / "demo.yaml")
    values |= {"max_tokens": 12, "fit": {"sequences": 2}, "sequences": 1}
    values["host_cache"] = {"frac": 0.5, "eviction": name, "read_ahead": 1, "start": "popular"}
    values["hardware_set"] = {"nvme.bandwidth": "3 GB/s", "nvme.latency": "80 us"}
    host = host_of(simulate(build_scenario(values, "test.yaml")))
    assert host["evictions"] != 0
    assert host["misses"] != 0


def refused(host_cache: Mapping[str, object], **machine: object) -> str:
    """Return what is said of a host cache that is refused."""
    with pytest.raises(InputError) as error:
        run(host_cache, machine=machine or READ)
    return str(error.value)


def test_what_does_not_fit_is_refused_with_what_is_missing() -> None:
    """Which key, by how much, and what to do."""
    assert "nvme.bandwidth: is not given" in refused({"experts": 4}, **{"gpu.launch": "0 us"})
    assert "gives experts and frac" in refused({"experts": 4, "frac": 0.5})
    assert "holds 1 experts of 12 KiB; a run needs 2: 12 KiB more" in refused({"experts": 1})
    assert "host_cache.eviction: 'lruu' is not known; did you mean 'lru'?" in refused({"eviction": "lruu"})
    small = {"host.memory": "60 KiB", "host.memory_reserve": "12 KiB", **READ}
    assert "takes 60 KiB, 12 KiB more than there is: host.memory of 60 KiB, less 12 KiB for the reserve" in refused(
        {"experts": 5}, **small
    )
    assert "take 96 KiB, 32 KiB more than the machine's nvme.capacity of 64 KiB" in refused(
        {"experts": 4}, **{"nvme.capacity": "64 KiB", **READ}
    )
    assert "nvme.latency: would have no effect" in refused({"experts": 4}, **{"nvme.latency": "1 us", **READ})


def test_without_a_size_it_is_what_host_memory_leaves() -> None:
    """60 KiB less a reserve of 12 KiB hold four experts."""
    machine = {"host.memory": "60 KiB", "host.memory_reserve": "12 KiB", **READ}
    host = host_of(run({}, machine=machine))
    assert (host["experts"], host["bytes"], host["frac"]) == (4, 4 * EXPERT_BYTES, 0.5)


def test_a_model_larger_than_host_memory_is_warned_of_without_it() -> None:
    """The run goes on, and says that it assumes what cannot be; with a host cache there is nothing to assume."""
    machine = {"host.memory": "60 KiB", **READ}
    assert "more than the host's memory of 60 KiB" in str(run(None, machine=machine).summary["warnings"])
    assert run({}, machine=machine).summary["warnings"] == []


def test_reads_slow_copies_where_memory_is_short() -> None:
    """With enough bandwidth for either alone, copies and reads together take longer than with enough for both."""
    machine = {"durations.transfer": "1 ms", **READ}
    more: dict[str, object] = {"prefetch": {"name": "perfect", "lookahead_layers": 2}}
    ample = run({"experts": 3}, machine=machine, **more)
    short = run({"experts": 3}, machine={**machine, "host.bandwidth": "12.5 MB/s"}, **more)
    assert int(str(short.summary["makespan_ns"])) > int(str(ample.summary["makespan_ns"]))


def test_copies_back_go_over_what_the_host_has() -> None:
    """An expert that the host has let go in the meantime is not copied back."""
    everything = run({"experts": 8}, cache={"experts": 6, "write_back": True})
    little = run({"experts": 2}, cache={"experts": 6, "write_back": True})
    without = run(None, cache={"experts": 6, "write_back": True})
    copied = [int(str(result.summary["d2h_write_back_bytes"])) for result in (everything, without, little)]
    assert copied[0] == copied[1] > copied[2]


def test_the_table_and_the_timeline_show_it(tmp_path: Path) -> None:
    """The host's rows, and a track of reads that adds up to what NVMe was busy for."""
    from rich.console import Console

    values = read_scenario(EXAMPLES / "fixed_costs.yaml")
    values |= {"hardware_set": READ, "host_cache": {"experts": 3, "read_ahead": 1}}
    path = tmp_path / "timeline.json.gz"
    result = simulate(build_scenario(values, "test.yaml"), timeline_path=path)
    console = Console(record=True, width=100)
    console.print(render_summary(result.summary, "title"))
    text = console.export_text()
    assert "Host memory above NVMe" in text
    assert "waiting for NVMe" in text
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    (track,) = (event["tid"] for event in events if event.get("args", {}).get("name") == "NVMe")
    reads = [event["dur"] for event in events if event["tid"] == track and event["ph"] == "X"]
    assert round(sum(reads) * 1000) == host_of(result)["nvme_busy_ns"]
    waits = [event["dur"] for event in events if event["name"] == "wait for NVMe"]
    attribution = result.summary["attribution_ns"]
    assert isinstance(attribution, Mapping)
    assert round(sum(waits) * 1000) == attribution["exposed_nvme"]
