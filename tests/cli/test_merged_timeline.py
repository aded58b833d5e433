"""Two timelines in one file: every event of both, each in its process, flows apart."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hardware_profiles.errors import InputError
from simulator.merged_timeline import merge_timelines
from simulator.run import simulate
from simulator.scenario import build_scenario
from simulator.timeline import Timeline
from tests.cli.conftest import fill

Event = dict[str, Any]


def timeline(path: Path, **changes: object) -> Path:
    """Write the timeline of the example."""
    fill(path.parent)
    values = {"trace": "trace.safetensors", "model": "model.yaml"}
    located = {key: str(path.parent / name) for key, name in values.items()}
    scenario = {**located, "hardware": "fixed-costs", "cache": {"experts": 6}, "batch": 2, **changes}
    simulate(build_scenario(scenario, "test"), timeline_path=path)
    return path


def events(path: Path) -> list[Event]:
    """Read the events, times as they are written."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        document = json.load(file, parse_float=str)
    read: list[Event] = document["traceEvents"]
    return read


@pytest.fixture
def parts(tmp_path: Path) -> list[tuple[str, Path]]:
    """Write the timelines of two runs that differ."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = timeline(tmp_path / "a" / "a.json.gz")
    second = timeline(tmp_path / "b" / "b.json.gz", hardware_set={"durations.transfer": "3 ms"}, batch=1)
    return [("simulated", first), ("measured", second)]


def test_every_event_is_there_once(parts: list[tuple[str, Path]], tmp_path: Path) -> None:
    """As it was, but for its process, the id of its flow and the name of its process."""
    merge_timelines(tmp_path / "both.json.gz", parts)
    merged = events(tmp_path / "both.json.gz")
    for process, (name, path) in enumerate(parts, start=1):
        of_process = [event for event in merged if event["pid"] == process]
        added = [event for event in of_process if event["name"].startswith("process_")]
        assert [event["args"] for event in added] == [{"name": name}, {"sort_index": process}]
        kept = [strip(event) for event in of_process if event not in added]
        assert kept == [strip(event) for event in events(path) if event["name"] != "process_name"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "both.json.gz"]


def strip(event: Event) -> Event:
    """Return an event without what merging changes."""
    return {key: value for key, value in event.items() if key not in ("pid", "id")}


def test_flows_stay_apart(parts: list[tuple[str, Path]], tmp_path: Path) -> None:
    """An id belongs to one process, starts once and ends at most once there."""
    merge_timelines(tmp_path / "both.json.gz", parts)
    flows = [event for event in events(tmp_path / "both.json.gz") if event["ph"] in "sf"]
    assert {event["pid"] for event in flows} == {1, 2}
    process_of: dict[int, int] = {}
    for event in flows:
        assert process_of.setdefault(event["id"], event["pid"]) == event["pid"]
    assert set(Counter((event["ph"], event["id"]) for event in flows).values()) == {1}


def test_the_same_parts_give_the_same_bytes(parts: list[tuple[str, Path]], tmp_path: Path) -> None:
    """And one event stands on each line, as in a part, so that merged files can be merged."""
    for name in ("one", "two"):
        merge_timelines(tmp_path / f"{name}.json.gz", parts)
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()
    with gzip.open(tmp_path / "one.json.gz", "rt", encoding="utf-8") as file:
        assert len(file.readlines()) == len(events(tmp_path / "one.json.gz"))


def test_keys_inside_texts_are_left_alone(tmp_path: Path) -> None:
    """A name that looks like a key is a name."""
    path = tmp_path / "odd.json.gz"
    odd = {
        "ph": "s",
        "name": 'x","pid":7,"id":9,"',
        "pid": 1,
        "tid": 2,
        "ts": 0.5,
        "id": 4,
        "cat": "expert",
        "args": {},
    }
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write('{"displayTimeUnit":"ns","traceEvents":[' + json.dumps(odd, separators=(",", ":")) + "]}\n")
    merge_timelines(tmp_path / "both.json.gz", [("a", path), ("b", path)])
    merged = events(tmp_path / "both.json.gz")
    assert [(event["name"], event["pid"], event["id"]) for event in merged] == [
        (odd["name"], 1, 8),
        (odd["name"], 2, 9),
    ]


def test_a_timeline_of_another_process(tmp_path: Path) -> None:
    """Every event bears its number; the default is 1."""
    with Timeline(tmp_path / "t.json.gz", num_experts=8, process=5) as other:
        other.head(0, 10)
    assert {event["pid"] for event in events(tmp_path / "t.json.gz")} == {5}


@pytest.mark.parametrize("fault", ["text", "torn", "other", "missing"])
def test_what_is_no_timeline_is_refused(parts: list[tuple[str, Path]], tmp_path: Path, fault: str) -> None:
    """With its name; nothing is left behind."""
    path = parts[1][1]
    if fault == "text":
        path.write_text("no", encoding="utf-8")
    elif fault == "torn":
        path.write_bytes(path.read_bytes()[:-40])
    elif fault == "other":
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write('{"traceEvents":[]}\n')
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"b\.json\.gz: .*write it again"):
        merge_timelines(tmp_path / "both.json.gz", parts)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a", "b"]
