"""Workloads from plain values."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from simulator.workload.arrivals import Arrival
from simulator.workload.choice import BuiltWorkload, build_workload, read_choice
from simulator.workload.quantities import parse_rate, parse_span_ns

POISSON = {"process": "poisson", "rate": "2 requests/s"}
LENGTHS = {"prompt_tokens": 7, "output_tokens": {"mean": 5, "cv": 1.0, "most": 40}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a request trace of ten requests, a second apart."""
    rows = "".join(f"{second},{second + 1},1\n" for second in range(10))
    (tmp_path / "ten.csv").write_text(f"arrived_at,num_prefill_tokens,num_decode_tokens\n{rows}", encoding="utf-8")
    return tmp_path


def built(values: Mapping[str, object], folder: Path | None = None) -> BuiltWorkload:
    """Read and build."""
    return build_workload(read_choice(values, "w.yaml"), "w.yaml", folder)


def arrivals(values: Mapping[str, object], folder: Path | None = None, count: int = 50) -> list[Arrival]:
    """Return the first requests of seed 1."""
    return list(islice(built(values, folder).open.arrivals(1), count))


def seconds(requests: list[Arrival]) -> list[float]:
    """Return when they arrive."""
    return [request.arrival_ns / 1e9 for request in requests]


@pytest.mark.parametrize(
    "process",
    [
        POISSON,
        {"process": "gamma", "rate": "90 /min", "cv": 2},
        {"process": "on_off", "on_rate": "10 /s", "off_rate": "1 /s", "on": "2 s", "off": "1 min", "phases": "fixed"},
        {"process": "ramp", "end_rate": "10 /s", "ramp": "1 min"},
    ],
)
def test_every_process_can_be_named(process: Mapping[str, object]) -> None:
    """With its parameters, units and all."""
    requests = arrivals({"arrivals": process, **LENGTHS})
    assert len(requests) == 50
    assert {request.prompt_tokens for request in requests} == {7}
    assert len({request.output_tokens for request in requests}) > 3
    assert max(request.output_tokens for request in requests) <= 40


def test_a_file_is_looked_for_in_its_folder(folder: Path) -> None:
    """By its name alone or with how to read it."""
    by_name, in_full = (
        arrivals({"file": file}, folder) for file in ("ten.csv", {"file": "ten.csv", "format": "vidur"})
    )
    assert by_name == in_full
    assert seconds(by_name) == list(range(10))


def test_parts_are_applied_in_the_stated_order(folder: Path) -> None:
    """Of ten, those from 2 s up to 8 s, at twice the rate, the first four."""
    requests = arrivals({"file": "ten.csv", "start": "2 s", "stop": "8 s", "rate_factor": 2, "requests": 4}, folder)
    assert [request.prompt_tokens for request in requests] == [3, 4, 5, 6]
    assert seconds(requests) == [0, 0.5, 1, 1.5]


def test_a_files_rate_can_be_set(folder: Path) -> None:
    """Gaps over the time between the first and the last: 1/s before, also of a slice."""
    assert seconds(arrivals({"file": "ten.csv", "rate": "4 /s", "start": "5 s"}, folder)) == [0, 0.25, 0.5, 0.75, 1]
    rows = "".join(f"{second},1,1\n" for second in (0, 10, 20, 21, 22))
    (folder / "uneven.csv").write_text(f"arrived_at,num_prefill_tokens,num_decode_tokens\n{rows}", encoding="utf-8")
    few = arrivals({"file": "uneven.csv", "rate": "2 /s", "requests": 3}, folder)
    assert seconds(few) == [0, 0.5, 1]  # of the three, though those after them come faster
    with pytest.raises(InputError, match="1 requests at one instant have no rate"):
        built({"file": "ten.csv", "rate": "4 /s", "stop": "1 s"}, folder)


def test_lengths_of_a_file(folder: Path) -> None:
    """Are drawn together, of requests with or without times."""
    requests = arrivals({"arrivals": POISSON, "lengths": "ten.csv"}, folder)
    assert {request.output_tokens for request in requests} == {1}
    assert 5 < len({request.prompt_tokens for request in requests}) <= 10


def test_labels(folder: Path) -> None:
    """A name alone is the only one; parts of a merge have their own."""
    merge = [{"file": "ten.csv", "classes": "batch"}, {"file": "ten.csv", "categories": {"law": 1, "code": 1}}]
    requests = arrivals({"merge": merge}, folder)
    assert [request.class_name for request in requests] == ["batch", "default"] * 10
    assert {request.category for request in requests[1::2]} == {"law", "code"}
    assert {request.class_name for request in arrivals({"merge": merge, "classes": "all"}, folder)} == {"all"}


def test_users() -> None:
    """A closed workload, bounded by requests or by time."""
    users = {"process": "closed_loop", "users": 3, "think": "2 s", "thinking": "fixed"}
    workload = built({"arrivals": users, **LENGTHS, "requests": 4})
    assert workload.is_closed
    first = list(workload.closed.first(1))
    assert len(first) == 3
    after = workload.closed.after(first[1], 10**9)
    assert after is not None
    assert (after.arrival_ns, after.session) == (3 * 10**9, 1)
    assert workload.closed.after(first[0], 10**9) is None
    stopped = built({"arrivals": users, **LENGTHS, "stop": "2 s"})
    assert stopped.closed.after(next(iter(stopped.closed.first(1))), 0) is None


def test_notes_are_those_of_the_files(folder: Path) -> None:
    """As far as they have been read."""
    with (folder / "ten.csv").open("a", encoding="utf-8") as file:
        file.write("11,0,1\n")
    workload = built({"merge": [{"file": "ten.csv"}, {"file": {"file": "ten.csv", "empty": "leave_out"}}]}, folder)
    assert workload.notes() == []
    assert len(list(workload.open.arrivals(0))) == 20
    assert workload.notes() == ["ten.csv: 1 requests without a token of prompt or of output are left out"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "workload: needs one of file, arrivals and merge"),
        ({"file": "ten.csv", "merge": []}, "workload: gives file and merge; keep one"),
        ({"merge": []}, "merge: names no workload"),
        ({"file": "absent.csv"}, "absent.csv: no such file"),
        ({"file": {"file": "ten.csv", "format": "vidor"}}, "'vidor' is not known"),
        ({"arrivals": POISSON}, "arrivals: need prompt_tokens and output_tokens"),
        ({"arrivals": POISSON, "prompt_tokens": 3}, "prompt_tokens is given"),
        ({"arrivals": POISSON, **LENGTHS, "lengths": "ten.csv"}, "arrivals: need"),
        ({"arrivals": {"process": "poisson"}, **LENGTHS}, "arrivals.rate: is missing"),
        ({"arrivals": {"process": "poisson", "rate": 2}, **LENGTHS}, "2 is not a rate"),
        ({"arrivals": {"process": "poisson", "rate": "0 /s"}, **LENGTHS}, "no arrivals at all"),
        ({"arrivals": {"process": "bursts", "rate": "2 /s"}, **LENGTHS}, "known: poisson"),
        ({"arrivals": {"process": "ramp", "ramp": "1 s"}, **LENGTHS}, "workload: start_rate_per_s and end_rate_per_s"),
        ({"arrivals": POISSON, **LENGTHS, "rate": "2 /s"}, "rate: goes with file"),
        ({"file": "ten.csv", "prompt_tokens": 3}, "prompt_tokens: goes with arrivals"),
        ({"file": "ten.csv", "rate": "2 /s", "rate_factor": 2}, "keep one"),
        ({"file": "ten.csv", "start": "5 s", "stop": "5 s"}, "stop: 5 s is not after start, 5 s"),
        ({"file": "ten.csv", "start": 5}, "start: 5 is a bare number"),
        ({"file": "ten.csv", "keep_frac": 0}, "keep_frac"),
        ({"file": "ten.csv", "requests": 0}, "requests"),
        ({"file": "ten.csv", "reqests": 5}, "reqests: unknown key"),
        ({"file": "ten.csv", "classes": {"a": 0}}, "classes: all weights are 0"),
        ({"merge": [{"file": "ten.csv", "lengths": "ten.csv"}]}, "merge.0.lengths: goes with arrivals"),
        ({"merge": [{"arrivals": {"process": "closed_loop", "users": 1}, **LENGTHS}]}, "closed_loop cannot be merged"),
        (
            {"arrivals": {"process": "closed_loop", "users": 1}, **LENGTHS, "start": "1 s"},
            "does not go with closed_loop",
        ),
        (
            {"arrivals": POISSON, "prompt_tokens": 0, "output_tokens": 1},
            "prompt_tokens: 0: Input should be greater than 0",
        ),
        (
            {"arrivals": POISSON, "prompt_tokens": {"mean": 9, "least": 5, "most": 4, "cv": 1}, "output_tokens": 1},
            "ascend",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(values: Mapping[str, object], says: str, folder: Path) -> None:
    """With the key, the value and the remedy."""
    with pytest.raises(InputError) as raised:
        built(values, folder)
    assert says in str(raised.value)


def test_rates_and_spans() -> None:
    """Exact, with their units."""
    assert [parse_rate(text) * 60 for text in ("2 /s", "90 /min", "7.5 requests/min", "1 request/h")] == [
        120,
        90,
        7.5,
        Fraction(1, 60),
    ]
    assert [parse_span_ns(text) // 10**6 for text in ("1.5 ms", "2 s", "1.5 min", "2 h")] == [
        1,
        2000,
        90_000,
        7_200_000,
    ]
    for text in ("2", "2 Hz", 2, "-1 /s", "/s", None):
        with pytest.raises(ValueError, match="is not a rate"):
            parse_rate(text)
    for text in ("2", 2, "2 days", "-1 min"):
        with pytest.raises(ValueError, match=r"unit|number|negative"):
            parse_span_ns(text)
