"""`moesim workload info`: a table, JSON or a page; and what the user got wrong."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine

CSV = "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n1,200,20\n2.5,300,30\n"
SPEC = "{arrivals: {process: poisson, rate: 2 /s}, prompt_tokens: 512, output_tokens: {mean: 100, cv: 1}}"


@pytest.fixture(autouse=True)
def _files(place: Path) -> None:
    """Put a request trace, lengths, a workload and a scenario that has one into the folder."""
    (place / "r.csv").write_text(CSV, encoding="utf-8")
    (place / "lengths.csv").write_text("num_prefill_tokens,num_decode_tokens\n7,3\n9,1\n", encoding="utf-8")
    (place / "below").mkdir()
    (place / "below" / "w.yaml").write_text("file: ../r.csv\nclasses: batch\n", encoding="utf-8")
    (place / "s.yaml").write_text("trace: t\nworkload: {file: r.csv, rate_factor: 2}\n", encoding="utf-8")


def test_a_request_trace_as_json(moesim: CommandLine) -> None:
    """Units in the keys; nothing on stderr."""
    outcome = moesim("workload", "info", "r.csv", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert (told["requests"], told["span_s"], told["rate_requests_per_s"]) == (3, 2.5, 0.8)
    assert (told["prompt_tokens"]["mean"], told["output_tokens"]["max"], told["is_closed"]) == (200.0, 30, False)
    assert told["notes"] == []


def test_a_table(moesim: CommandLine) -> None:
    """The same to be read, within 80 columns."""
    outcome = moesim("workload", "info", "r.csv")
    assert outcome.code == 0
    assert "0.8 requests/s" in outcome.out
    assert "mean 200 tokens" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_a_page(moesim: CommandLine, place: Path) -> None:
    """Self-contained, with three plots, and the figures of the table."""
    outcome = moesim("workload", "info", "r.csv", "--page", "w.html")
    assert outcome.code == 0
    assert "page: w.html" in outcome.out
    page = (place / "w.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count('id="figure-') == 3
    assert "0.8 requests/s" in page
    assert 'src="http' not in page


def test_a_workload_in_yaml(moesim: CommandLine) -> None:
    """Its own file, its files beside it; or a scenario that has one."""
    told = json.loads(moesim("workload", "info", "below/w.yaml", "--json").out)
    assert (told["requests"], told["classes"]) == (3, {"batch": 3})
    told = json.loads(moesim("workload", "info", "s.yaml", "--json").out)
    assert (told["requests"], told["span_s"]) == (3, 1.25)


def test_a_workload_in_braces(moesim: CommandLine) -> None:
    """Of what never ends the first so many; the seed decides which."""
    told, again, other = (
        json.loads(moesim("workload", "info", SPEC, "--json", "--requests", "400", "--seed", seed).out)
        for seed in ("1", "1", "2")
    )
    assert told == again
    assert told["span_s"] != other["span_s"]
    assert told["requests"] == 400
    assert told["notes"] == ["these are the first 400 requests; there are more (--requests)"]
    assert told["rate_requests_per_s"] == pytest.approx(2, rel=0.2)


def test_what_has_no_times_has_lengths_alone(moesim: CommandLine, place: Path) -> None:
    """A closed loop, and a file of lengths: no rate, and one plot."""
    users = SPEC.replace("process: poisson, rate: 2 /s", "process: closed_loop, users: 5, think: 1 s")
    told = json.loads(moesim("workload", "info", users, "--json", "--requests", "50").out)
    assert (told["requests"], told["is_closed"], told["rate_requests_per_s"]) == (50, True, None)
    assert "depends on the service" in told["notes"][0]
    outcome = moesim("workload", "info", "lengths.csv", "--page", "w.html")
    assert "no times of arrival" in outcome.out
    assert "requests/s" not in outcome.out
    assert (place / "w.html").read_text(encoding="utf-8").count('id="figure-') == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("absent.csv", "absent.csv: no such file"),
        ("absent.yaml", "absent.yaml: no such file"),
        ("notes", "notes: is a directory"),
        ("trace.safetensors", "trace.safetensors:1:"),
        ("r.csv|--format|vidor", "'vidor' is not known"),
        ("r.csv|--format|azure", "r.csv:1:1: should have one column TIMESTAMP"),
        ("s.yaml|--format|azure", "--format: goes with a request trace"),
        ("r.csv|--seed|-1", "--seed: is -1"),
        ("r.csv|--requests|0", "--requests: is 0"),
        ("r.csv|--page|notes", "--page notes: cannot be written"),
        ("ok.yaml", "ok.yaml: "),
        ("{file: r.csv", "WORKLOAD: is not YAML"),
        ("{file: r.csv, start: 1 h}", "has no requests in it"),
        ("{fil: r.csv}", "fil: unknown key"),
        ("{merge: [{file: lengths.csv}]}", "lengths.csv:2:1: the request has no time"),
    ],
)
def test_what_the_user_got_wrong(arguments: str, says: str, moesim: CommandLine) -> None:
    """Exit code 2 and one message."""
    outcome = moesim("workload", "info", *arguments.split("|"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("moesim: error: ")
    assert says in outcome.err
