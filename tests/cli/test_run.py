"""`moesim run`: what its options set, and what it writes."""

import csv
import errno
import gzip
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.run import simulate
from simulator.scenario import Scenario, build_scenario, plain, read_scenario
from tests.cli.conftest import EARLIER, CommandLine, contents

Resolved = list[Scenario]


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Resolved:
    """Collect the scenarios that the command line hands to the simulator."""
    seen: Resolved = []

    def record(scenario: Scenario, **options: Any) -> object:  # noqa: ANN401
        seen.append(scenario)
        return simulate(scenario, **options)

    monkeypatch.setattr("simulator.cli.run.simulate", record)
    return seen


def summary_of(moesim: CommandLine, *arguments: str | Path) -> dict[str, Any]:
    """Run with --json and return the summary; stdout must hold nothing else, stderr the warnings alone."""
    outcome = moesim("run", *arguments, "--json")
    assert outcome.code == 0
    summary: dict[str, Any] = json.loads(outcome.out)
    assert outcome.err == "".join(f"moesim: warning: {warning}\n" for warning in summary["warnings"])
    return summary


OPTIONS = [
    ("--trace trace.safetensors", {"trace": "trace.safetensors"}),
    ("--model model.yaml", {"model": "./model.yaml"}),
    ("--hardware rtx-4090", {"hardware": "rtx-4090"}),
    ("--hardware rtx-4090 --pcie gen5x16", {"hardware": "rtx-4090", "pcie": "gen5x16"}),
    ("--batch 1", {"batch": 1}),
    ("--sequences 1", {"sequences": 1}),
    ("--max-tokens 2", {"max_tokens": 2}),
    ("--warmup-steps 1", {"warmup_steps": 1}),
    ("--seed 7", {"seed": 7}),
    ("--system static", {"system": "static"}),
    ("--eviction lfu", {"eviction": {"name": "lfu"}}),
    ("--prefetch perfect", {"prefetch": {"name": "perfect"}}),
    ("--cache-experts 4", {"cache": {"experts": 4}}),
    ("--cache-frac 0.5", {"cache": {"frac": 0.5}}),
    ("--set batch=1", {"batch": 1}),
    ("--set prefill_chunk_tokens=1", {"prefill_chunk_tokens": 1}),
    ("--set cache.scope=global", {"cache": {"experts": 6, "scope": "global"}}),
    ("--set placement=popular --cache-frac 1", {"cache": {"frac": 1.0}, "placement": "popular"}),
    ("--set eviction=fifo", {"eviction": "fifo"}),
    (
        "--prefetch perfect --set prefetch.lookahead_layers=2",
        {"prefetch": {"name": "perfect", "lookahead_layers": 2}},
    ),
    ("--set quantisation.experts=q4_0", {"quantisation": {"experts": "q4_0"}}),
    ("--set description=x", {"description": "x"}),
    ('--set durations.expert="5 us"', {"hardware_set": {"durations.expert": "5 us"}}),
    ('--set gpu.memory="2 GiB" --batch 1', {"hardware_set": {"gpu.memory": "2 GiB"}, "batch": 1}),
    ('--cache-bytes "60 KiB"', {"cache": {"bytes": "60 KiB"}}),
]


@pytest.mark.parametrize(("options", "changes"), OPTIONS, ids=[options for options, _ in OPTIONS])
def test_an_option_is_the_key_of_the_file(
    options: str, changes: Mapping[str, object], moesim: CommandLine, resolved: Resolved, place: Path
) -> None:
    """The same scenario comes of an option and of the key in the file, and with it the same summary."""
    by_option = summary_of(moesim, "ok.yaml", *shlex.split(options))
    (place / "changed.yaml").write_text(
        yaml.safe_dump(read_scenario(Path("ok.yaml")) | dict(changes)), encoding="utf-8"
    )
    by_file = summary_of(moesim, "changed.yaml")
    assert resolved[0] == resolved[1]
    assert by_option == by_file
    if not options.startswith(("--trace", "--model")):
        assert resolved[0] != build_scenario(read_scenario(Path("ok.yaml")), "ok.yaml")


def test_options_alone_are_a_scenario(moesim: CommandLine, resolved: Resolved) -> None:
    """Without a file, the three inputs are enough; the cache is then what memory leaves."""
    summary = summary_of(moesim, "--trace", "trace.safetensors", "--model", "./model.yaml", "--hardware", "fixed-costs")
    assert resolved == [Scenario(trace="trace.safetensors", model="./model.yaml", hardware="fixed-costs")]
    assert summary["cache"]["experts"] == 8


def test_paths_of_a_file_are_relative_to_it(moesim: CommandLine, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario runs from anywhere; options are relative to where one stands."""
    monkeypatch.chdir(place / "notes")
    summary = summary_of(moesim, "../ok.yaml")
    assert summary == summary_of(moesim, "../ok.yaml", "--trace", "../trace.safetensors")


PERCENTILES = {"mean": float, "p50": float, "p90": float, "p99": float}
KEYS: dict[str, Any] = {
    "makespan_ns": int,
    "tokens": int,
    "throughput_tokens_per_s": float,
    "ttft_s": PERCENTILES,
    "itl_s": PERCENTILES,
    "tpot_s": PERCENTILES,
    "e2e_s": PERCENTILES,
    "accesses": int,
    "hits": int,
    "late_hits": int,
    "misses": int,
    "hit_frac": float,
    "h2d_demand_bytes": int,
    "h2d_prefetch_bytes": int,
    "busy_frac": {"gpu": float, "h2d": float, "d2h": float, "cpu": float},
    "attribution_s": dict.fromkeys(
        (
            "expert_compute",
            "non_expert_compute",
            "step_compute",
            "runtime_overhead",
            "exposed_demand_fetch",
            "exposed_late_prefetch",
            "queued_behind_prefetch",
            "exposed_cpu_expert",
            "exposed_nvme",
        ),
        float,
    ),
    "energy": type(None),
    "price": type(None),
    "warnings": list,
    "assumptions": list,
}


def test_energy_and_price_are_told_where_the_machine_says(moesim: CommandLine) -> None:
    """In JSON with the figures that they rest on, and in the table; nothing, and no warning, where it says nothing."""
    power = ("--set", 'power.gpu={idle: "50 W", busy: "350 W"}', "--set", 'power.rest="40 W"')
    price = ("--set", 'price.per_hour="0.69 USD/h"')
    summary = summary_of(moesim, "ok.yaml", *power, *price)
    assert set(summary["energy"]["by_resource_j"]) == {"gpu", "rest"}
    assert summary["energy"]["not_counted"] == ["cpu", "host_memory", "link"]
    told = [text for text in summary["assumptions"] if text.startswith(("power.", "price."))]
    assert told == [
        "power.gpu.idle = 50 W (set for this run)",
        "power.gpu.busy = 350 W (set for this run)",
        "power.rest = 40 W (set for this run)",
        "price.per_hour = 0.69 USD/h (set for this run)",
    ]
    shown = " ".join(moesim("run", "ok.yaml", *power, *price).out.split())
    assert "the rest 0.446 J; without CPU, host memory, link)" in shown
    assert "0.5343 USD for a million output tokens" in shown
    silent = moesim("run", "ok.yaml")
    assert "energy" not in silent.out
    assert "price" not in silent.out
    half = moesim("run", "ok.yaml", "--set", 'power.gpu.busy="350 W"')
    assert half.code == 2
    assert "power.gpu.idle: is missing" in half.err


def test_figures_of_a_vendor_are_no_measurements(moesim: CommandLine) -> None:
    """What a board draws at most, by its datasheet, is listed beside what is assumed."""
    summary = summary_of(moesim, "ok.yaml", "--hardware", "rtx-4090")
    (busy,) = (text for text in summary["assumptions"] if text.startswith("power.gpu.busy"))
    assert busy.startswith("power.gpu.busy = 450 W, datasheet, not measured (NVIDIA GeForce RTX 4090 specifications")


def test_json_has_the_documented_keys(moesim: CommandLine) -> None:
    """Each is there with its type, and the parts make up the whole."""
    summary = summary_of(moesim, "ok.yaml", "--prefetch", "perfect")
    for key, kind in KEYS.items():
        if isinstance(kind, dict):
            assert {name: type(value) for name, value in summary[key].items()} == kind, key
        else:
            assert type(summary[key]) is kind, key
    assert summary["accesses"] == summary["hits"] + summary["late_hits"] + summary["misses"] == 16
    assert summary["hit_frac"] == summary["hits"] / 16
    assert sum(summary["attribution_ns"].values()) == summary["makespan_ns"]
    assert summary["attribution_s"] == {cause: ns / 1e9 for cause, ns in summary["attribution_ns"].items()}
    assert summary["throughput_tokens_per_s"] == summary["tokens"] * 1e9 / summary["makespan_ns"]
    assert any("oracle" in warning for warning in summary["warnings"])


def test_the_table_fits_80_columns(moesim: CommandLine, tmp_path: Path) -> None:
    """Without --json a person reads it: no line is cut, stderr is silent."""
    outcome = moesim("run", "ok.yaml", "--out", tmp_path / "[bold]out", "--timeline")
    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, outcome.out.replace(str(tmp_path), "").splitlines())) <= 80
    for words in (
        "358.7 tokens/s",
        "11.15 ms",
        "7 (43.8%)",
        "9 (56.2%)",
        "8.2 ms",
        "73.5%",
        "108 KiB",
        "[bold]out/",
        "perfetto",
    ):
        assert words in outcome.out


def test_what_cannot_be_honoured_is_a_warning(moesim: CommandLine) -> None:
    """More slots than experts, a batch that no trace can fill: said in the result."""
    summary = summary_of(moesim, "ok.yaml", "--cache-experts", "1000", "--batch", "1000000000000")
    assert summary["cache"]["experts"] == 8
    told = "\n".join(summary["warnings"])
    assert "cache.experts = 1000 is room for more than all 8 experts" in told
    assert "batch is 1000000000000, but the run has 2 sequences" in told


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_the_files_of_a_run_agree(moesim: CommandLine, place: Path) -> None:
    """Requests and layers add up to the summary, and the scenario reads back to the same result."""
    summary = summary_of(moesim, "ok.yaml", "--out", "new/here", "--set", "gpu.memory=2 GiB", "--prefetch", "perfect")
    out = place / "new" / "here"
    assert sorted(item.name for item in out.iterdir()) == sorted(EARLIER)
    assert (out.stat().st_mode & 0o777, (out / "summary.json").stat().st_mode & 0o600) == (0o755, 0o600)
    assert json.loads((out / "summary.json").read_text()) == summary

    requests = rows_of(out / "requests.csv")
    assert len(requests) == summary["requests"] == 2
    assert sum(int(row["output_tokens"]) for row in requests) == summary["tokens"]
    assert sum(int(row["prompt_tokens"]) for row in requests) == summary["prefill_tokens"]
    assert sum(int(row["finished"]) for row in requests) == summary["requests_finished"]
    assert max(int(row["last_token_ns"]) for row in requests) == summary["makespan_ns"]
    assert sum(int(row["ttft_ns"]) for row in requests) / 2 / 1e9 == pytest.approx(summary["ttft_s"]["mean"], rel=1e-12)
    assert sum(int(row["e2e_ns"]) for row in requests) / 2 / 1e9 == pytest.approx(summary["e2e_s"]["mean"], rel=1e-12)

    layers = rows_of(out / "layers.csv")
    assert [row["layer"] for row in layers] == ["0", "1"]
    for name in ("accesses", "hits", "late_hits", "misses"):
        assert sum(int(row[name]) for row in layers) == summary[name]
    for cause in ("expert_compute", "exposed_demand_fetch", "exposed_late_prefetch", "queued_behind_prefetch"):
        assert sum(int(row[f"{cause}_ns"]) for row in layers) == summary["attribution_ns"][cause]

    provenance = json.loads((out / "provenance.json").read_text())
    assert (provenance["hardware"], provenance["model"]) == ("fixed-costs", "fixed-costs-model")
    assert len(provenance["trace_sha256"]) == len(provenance["hardware_sha256"]) == 64


def test_the_written_scenario_gives_the_same_result(moesim: CommandLine, place: Path) -> None:
    """It is read where it lies, in the result folder, not where the run stood."""
    first = summary_of(moesim, "ok.yaml", "--out", "new", "--batch", "1", "--set", "durations.expert=7 us")
    assert summary_of(moesim, "new/scenario.yaml") == first
    scenario = build_scenario(read_scenario(place / "new" / "scenario.yaml"), "new/scenario.yaml")
    again = build_scenario(yaml.safe_load(yaml.safe_dump(plain(scenario))), "again")
    assert again == scenario


def test_same_run_same_bytes(place: Path) -> None:
    """In processes of their own, with other hash seeds."""
    arguments = ("run", "ok.yaml", "--system", "oracle_prefetch", "--timeline", "--json")
    trees = []
    for seed in ("0", "1"):
        ended = subprocess.run(
            [sys.executable, "-c", "from simulator.cli import main; main()", *arguments, "--out", f"out{seed}"],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": seed},
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert ended.stderr.startswith(b"moesim: warning: a policy of this run knows the future")
        assert ended.stdout == (place / f"out{seed}" / "summary.json").read_bytes()
        trees.append(contents(place / f"out{seed}"))
    assert trees[0] == trees[1]
    assert set(trees[0]) == {*EARLIER, "timeline.json.gz"}


def test_overwrite_replaces_an_earlier_result_whole(moesim: CommandLine, place: Path) -> None:
    """A timeline of the earlier run does not stay beside the new summary."""
    (place / "results" / "timeline.json.gz").write_text("of an earlier run\n", encoding="utf-8")
    outcome = moesim("run", "ok.yaml", "--out", "results", "--overwrite")
    assert outcome.code == 0
    assert sorted(item.name for item in (place / "results").iterdir()) == sorted(EARLIER)
    assert "earlier" not in (place / "results" / "summary.json").read_text()
    assert {item.name for item in place.iterdir()} == {"model.yaml", "notes", "ok.yaml", "results", "trace.safetensors"}


def test_an_empty_folder_may_be_given(moesim: CommandLine, place: Path) -> None:
    """Nothing is lost in it."""
    (place / "empty").mkdir()
    assert moesim("run", "ok.yaml", "--out", "empty").code == 0
    assert sorted(item.name for item in (place / "empty").iterdir()) == sorted(EARLIER)


def test_a_link_to_a_folder_stays_a_link(moesim: CommandLine, place: Path) -> None:
    """What it points to is replaced."""
    (place / "latest").symlink_to("results")
    assert moesim("run", "ok.yaml", "--out", "latest", "--overwrite").code == 0
    assert (place / "latest").is_symlink()
    assert "makespan_ns" in (place / "results" / "summary.json").read_text()


def test_a_folder_that_fills_up_meanwhile_is_kept(
    moesim: CommandLine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else has put there during the run is not taken for ours."""

    def slow(scenario: Scenario, **options: Any) -> object:  # noqa: ANN401
        (place / "new").mkdir()
        (place / "new" / "theirs.txt").write_text("theirs", encoding="utf-8")
        return simulate(scenario, **options)

    monkeypatch.setattr("simulator.cli.run.simulate", slow)
    outcome = moesim("run", "ok.yaml", "--out", "new")
    assert outcome.code == 2
    assert "theirs.txt" in outcome.err
    assert contents(place / "new") == {"theirs.txt": b"theirs"}


@pytest.mark.parametrize("out", ["results", "new/here"])
def test_an_interrupt_leaves_nothing(
    out: str, moesim: CommandLine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of the run: the earlier result is as it was, a new folder is not there."""
    before = contents(place)
    during: list[set[str]] = []

    def interrupt(*_: object) -> None:
        during.append(set(contents(place)) - set(before))
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.metrics.collector.Collector.step_ended", interrupt)
    outcome = moesim("run", "ok.yaml", "--out", out, "--overwrite", "--timeline")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "moesim: interrupted\n")
    assert during[0], "the run was under way"
    assert contents(place) == before


def test_an_unexpected_error_leaves_nothing_either(
    moesim: CommandLine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours is shown as one, with its traceback."""
    before = contents(place)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("simulator.metrics.collector.Collector.step_ended", fail)
    with pytest.raises(ZeroDivisionError):
        moesim("run", "ok.yaml", "--out", "results", "--overwrite", "--timeline")
    assert contents(place) == before


@pytest.mark.parametrize("call", ["write", "close"])
def test_a_full_disk_is_the_users_to_mend(
    moesim: CommandLine, place: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A timeline that the disk refuses ends the run with one message, and what was there before stays."""
    before = contents(place)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gzip.GzipFile, call, refuse)
    outcome = moesim("run", "ok.yaml", "--out", "results", "--overwrite", "--timeline")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("moesim: error: timeline.json.gz: cannot be written: No space left on device;")
    assert contents(place) == before


def test_progress_is_shown_on_a_terminal_alone(moesim: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, so that --json stays JSON."""
    assert moesim("run", "ok.yaml", "--json").err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    monkeypatch.setenv("TERM", "xterm")
    outcome = moesim("run", "ok.yaml", "--json")
    assert "4/4" in outcome.err
    json.loads(outcome.out)
