"""Replications of one scenario, and of the systems of a comparison."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hardware_profiles.errors import InputError
from simulator.compare.facts import comparison_facts
from simulator.compare.run import compare
from simulator.metrics.interval import mean_interval
from simulator.replicate.facts import SAME, replication_facts
from simulator.replicate.measures import measures
from simulator.replicate.run import replicate
from simulator.replicate.table import title_of, written
from simulator.replicate.values import replicated
from simulator.run import simulate
from simulator.scenario import build_scenario
from simulator.serving.scheduler import Scheduler
from simulator.workload.step import Step
from tests.cli.conftest import CommandLine, contents
from tests.cli.page_parts import plot_of, texts_of


def test_each_is_a_run_of_its_own_seed(service_values: dict[str, object]) -> None:
    """The figures of the n-th are those of a run with that seed; more than one at once changes nothing."""
    facts = replication_facts(replicate(service_values, "x", 3, jobs=1), "x", service_values)
    assert facts["seeds"] == [3, 4, 5]
    alone = measures(simulate(build_scenario(service_values | {"seed": 4}, "x")).summary)
    found: Any = facts["measures"]
    assert {"goodput_requests_per_s", "ttft_p99_s", "queueing_mean_s", "steady_ttft_mean_s", "in_slo_frac"} <= set(
        found
    )
    for name, one in found.items():
        assert one["values"][1] == alone[name]
        assert one["mean"] == pytest.approx(np.mean(one["values"]))
        assert one["half_width"] == mean_interval(one["values"]).half_width
    several = replication_facts(replicate(service_values, "x", 3, jobs=2), "x", service_values)
    assert json.dumps(several) == json.dumps(facts)


def test_a_closed_batch_runs_other_sequences_each_time(service_values: dict[str, object]) -> None:
    """The next two of eight, or an equal part of all; too few for that is told, with the numbers."""
    batch = {key: service_values[key] for key in ("trace", "model", "hardware", "cache")}
    blocks, notes = replicated(batch | {"sequences": 2}, "x", 3)
    assert [(one["skip_sequences"], one["sequences"], one["seed"]) for one in blocks] == [
        (0, 2, 0),
        (2, 2, 1),
        (4, 2, 2),
    ]
    assert "no sequence is run twice" in notes[0]
    parts, _ = replicated(batch | {"fit": {"sequences": 2}, "skip_sequences": 1}, "x", 2)
    assert [(one["skip_sequences"], one["sequences"]) for one in parts] == [(1, 2), (3, 2)]
    ran = [[request.sequence for request in simulate(build_scenario(one, "x")).requests] for one in (*blocks, *parts)]
    assert ran == [[0, 1], [2, 3], [4, 5], [3, 4], [5, 6]]
    with pytest.raises(
        InputError, match=r"5 of a closed batch need other sequences for each, 2 sequences each, and .* 8 to"
    ):
        replicated(batch | {"sequences": 2}, "x", 5)
    with pytest.raises(InputError, match="at least 4 each, as batch is 4"):
        replicated(batch | {"batch": 4}, "x", 3)
    with pytest.raises(InputError, match="1 gives no interval"):
        replicated(batch, "x", 1)
    with pytest.raises(InputError, match="skip_sequences: 8 leaves nothing to run"):
        simulate(build_scenario(batch | {"skip_sequences": 8}, "x"))


def test_nothing_that_varies_is_told(service_values: dict[str, object]) -> None:
    """Arrivals like a metronome, one length and one sequence: the intervals say nothing."""
    workload = {
        "arrivals": {"process": "gamma", "rate": "40 /s", "cv": 0},
        "prompt_tokens": 1,
        "output_tokens": 2,
        "requests": 5,
    }
    constant = service_values | {"workload": workload, "sequences": 1}
    facts = replication_facts(replicate(constant, "x", 2, jobs=1), "x", constant)
    assert facts["warnings"][0] == SAME  # type: ignore[index]


def test_a_failure_is_told_with_its_seeds(service_values: dict[str, object]) -> None:
    """None of the replications is left out in silence."""
    with pytest.raises(InputError, match=r"seed 3, seed 4: .*depends on its own speed"):
        replicate(service_values | {"eviction": "belady"}, "x", 2, jobs=1)


def test_pairs_are_narrower_than_two_intervals(service_values: dict[str, object]) -> None:
    """Two systems on the same requests: the interval of the paired difference is below that of independent runs."""
    comparison = compare(["on_demand", "promoe"], service_values, jobs=1, replications=8)
    facts = comparison_facts(comparison, "x")
    found: Any = facts["replications"]
    assert (found["against"], found["count"], found["seeds"]) == ("on_demand", 8, list(range(3, 11)))
    ours, base = (found["systems"][name]["e2e_mean_s"] for name in ("promoe", "on_demand"))
    assert "difference" not in base
    difference = ours["difference"]
    assert difference["mean"] == pytest.approx(ours["mean"] - base["mean"])
    unpaired = (ours["half_width"] ** 2 + base["half_width"] ** 2) ** 0.5
    assert difference["half_width"] < 0.7 * unpaired
    assert difference["correlation"] > 0.8
    first = {row["system"]: row for row in facts["rows"]}  # type: ignore[attr-defined]
    assert first["promoe"]["e2e_mean_s"] == ours["values"][0]


def test_figures_are_written_with_their_units() -> None:
    """Durations, shares and rates."""
    assert title_of("steady_ttft_p99_s") == "settled TTFT p99"
    assert title_of("goodput_requests_per_s") == "goodput requests/s"
    assert (written("ttft_p99_s", 0.002), written("in_slo_frac", 0.5), written("mean_running", 2.0)) == (
        "2 ms",
        "50.0%",
        "2",
    )


def test_the_command(moesim: CommandLine, service_values: dict[str, object]) -> None:
    """A table, JSON and a folder of both; a timeline of several runs is refused, as are jobs for one."""
    (moesim.place / "service.yaml").write_text(yaml.safe_dump(service_values), encoding="utf-8")
    command = ("run", "service.yaml", "--replications", "2", "--jobs", "1")
    shown = moesim(*command, "--out", "several")
    assert (shown.code, shown.err) == (0, "")
    assert "2 replications" in shown.out
    assert "± (95 %)" in shown.out
    stored = (moesim.place / "several" / "replications.json").read_text(encoding="utf-8")
    assert moesim(*command, "--json").out == stored
    with (moesim.place / "several" / "replications.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["seed"] for row in rows} == {"3", "4"}
    for arguments, fault in (
        (("--timeline", "--out", "t"), "is of one run"),
        (("--out", "several"), "holds files already"),
    ):
        refused = moesim(*command, *arguments)
        assert (refused.code, fault in refused.err) == (2, True)
    assert set(contents(moesim.place / "several")) == {f"replications.{kind}" for kind in ("json", "csv", "html")}
    assert "page: alone.html" in moesim(*command, "--html", "alone.html", "--out", "bare", "--overwrite").out
    page = (moesim.place / "several" / "replications.html").read_text(encoding="utf-8")
    assert (moesim.place / "alone.html").read_text(encoding="utf-8") == page
    facts = json.loads(stored)
    drawn = plot_of(page, "Each figure of each replication")
    of_each = dict(zip(drawn[0]["text"], drawn[0]["x"], strict=True))
    ttft = facts["measures"]["ttft_p99_s"]
    for seed, value in zip(facts["seeds"], ttft["values"], strict=True):
        told = f"TTFT p99: {written('ttft_p99_s', value)}, seed {seed}"
        assert of_each[told] == pytest.approx(100 * (value / ttft["mean"] - 1))
        assert written("ttft_p99_s", value) in texts_of(page, "td")
    assert texts_of(page, "pre") == ["moesim run service.yaml --replications 2"]
    moesim(*command, "--out", "none", "--no-html")
    assert set(contents(moesim.place / "none")) == {"replications.json", "replications.csv"}
    assert "--replications" in moesim("run", "service.yaml", "--jobs", "2").err
    assert moesim("run", "service.yaml", "--replications", "1").code == 2


def test_a_comparison_of_services(moesim: CommandLine, service_values: dict[str, object]) -> None:
    """Goodput and latencies in table, JSON and page; what cannot run in a service is a row with its reason."""
    (moesim.place / "service.yaml").write_text(yaml.safe_dump(service_values), encoding="utf-8")
    command = ("compare", "service.yaml", "--systems", "promoe,expertflow-2410", "--jobs", "1", "--replications", "2")
    shown = moesim(*command, "--out", "compared")
    assert (shown.code, shown.err) == (0, "")
    for text in (
        "goodput",
        "TTFT p50",
        "queue p99",
        "oracle_eviction failed: eviction",
        "expertflow-2410 failed: batching: regroup (with system expertflow-2410) divides a closed batch",
        "Against on_demand, over 2 replications",
        "% ",
        "no place among oracles",
    ):
        assert text in shown.out, text
    assert "no difference shown at 95 %" in shown.out or "differs at 95 %" in shown.out
    facts = json.loads((moesim.place / "compared" / "compare.json").read_text(encoding="utf-8"))
    rows = {row["system"]: row for row in facts["rows"]}
    assert rows["everything_resident"]["status"] == rows["promoe"]["status"] == "ok"
    assert rows["everything_resident"]["misses"] == 0
    assert rows["promoe"]["in_slo_frac"] is not None
    assert rows["oracle_prefetch"]["goodput_requests_per_s"] is None
    page = (moesim.place / "compared" / "compare.html").read_text(encoding="utf-8")
    for text in ("Against on_demand", "TTFT (ms)", "queue p50", "depends on its own speed"):
        assert text in page


@pytest.mark.parametrize("scheduler", [{}, {"memory": "dynamic"}], ids=["fixed", "dynamic"])
def test_the_bound_has_kv_cache(
    scheduler: dict[str, object], service_values: dict[str, object], tmp_path: Path
) -> None:
    """All experts resident on a GPU that has room for half of them: KV cache is what the others have."""
    del tmp_path
    values = service_values | {"scheduler": scheduler, "cache": {"experts": 9}}
    outcomes = {one.system: one for one in compare(["on_demand", "everything_resident"], values, jobs=1).outcomes}
    found: dict[str, Any] = {name: one.summary for name, one in outcomes.items()}
    assert found["everything_resident"]["misses"] == 0
    if not scheduler:
        capacities = {name: one["service"]["kv_capacity_bytes"] for name, one in found.items()}
        assert capacities["everything_resident"] == capacities["on_demand"] > 0


def test_an_interrupt_is_no_result(service_values: dict[str, object], tmp_path: Path) -> None:
    """A service ends early on it; of several runs, none is kept that did, and what had ended is not run again."""
    store, done = tmp_path / "store", list[str]()

    def interrupt(name: str) -> None:
        done.append(name)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        replicate(service_values, "x", 3, jobs=1, store=store, done=interrupt)
    assert done == ["seed 3"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Scheduler, "step_ended", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            replicate(service_values, "x", 3, jobs=1, store=store)
    assert len(list(store.rglob("*.json"))) == 1
    assert len(replicate(service_values, "x", 3, jobs=1, store=store).summaries) == 3


_step_ended = Scheduler.step_ended


def _interrupted(scheduler: Scheduler, step: Step, now_ns: int) -> None:
    """Interrupt the service at its first step, as Ctrl-C would."""
    os.kill(os.getpid(), signal.SIGINT)
    _step_ended(scheduler, step, now_ns)
