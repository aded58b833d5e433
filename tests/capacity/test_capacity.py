"""The rate that a service sustains, held against queueing theory.

The machine has stated durations: with all experts resident, a request of one token takes 850 us, one at a time: M/D/1.
"""

import csv
import json
from math import exp, factorial, floor
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardware_profiles.errors import InputError
from simulator.capacity.facts import capacity_facts
from simulator.capacity.keeps import criterion
from simulator.capacity.rate import at_rate
from simulator.capacity.run import Probe, find_capacity
from simulator.run import simulate
from simulator.scenario import build_scenario
from simulator.serving.served import Served
from tests.cli.conftest import EXAMPLES, CommandLine

SERVICE_S = 850e-6
NUM_REQUESTS = 2500


def values(**changed: object) -> dict[str, object]:
    """Return a queue that is served one at a time; its own rate is about half of what it sustains."""
    return {
        "trace": str(EXAMPLES / "fixed_costs_trace.safetensors"),
        "model": str(EXAMPLES / "fixed_costs_model.yaml"),
        "hardware": "fixed-costs",
        "cache": {"experts": 8},
        "placement": "popular",
        "workload": {
            "arrivals": {"process": "poisson", "rate": "600 /s"},
            "prompt_tokens": 1,
            "output_tokens": 1,
            "requests": NUM_REQUESTS,
        },
        "scheduler": {"max_batch": 1, "kv_cache": "1 GiB"},
        **changed,
    }


def facts(
    scenario: dict[str, object], *, share: float = 0.99, tolerance: float = 0.03, replications: int = 1
) -> dict[str, Any]:
    """Search, and return what it says."""
    found = find_capacity(scenario, "x", share=share, tolerance=tolerance, replications=replications)
    return capacity_facts(found, "x", scenario, share=share, tolerance=tolerance)


def waits_no_longer(load: float, services: float) -> float:
    """Return the probability that a wait in M/D/1 is at most so many services long.

    Source: Erlang 1909, as in Gross and Harris, "Fundamentals of Queueing Theory", section 5.1.
    """
    terms = (
        (load * (k - services)) ** k / factorial(k) * exp(-load * (k - services)) for k in range(floor(services) + 1)
    )
    return (1 - load) * sum(terms)


def test_the_closed_form() -> None:
    """Nobody waits with probability 1 - load, and the mean of the tail is the known mean wait."""
    assert waits_no_longer(0.6, 0) == pytest.approx(0.4)
    step = 0.01
    mean = sum(1 - waits_no_longer(0.6, (at + 0.5) * step) for at in range(1500)) * step
    assert mean == pytest.approx(0.6 / (2 * 0.4), rel=1e-3)


def test_a_queue_is_stable_up_to_a_load_of_one() -> None:
    """Without a promise, the rate is one over the service time, within what 2,500 requests can tell."""
    found = facts(values())
    assert found["sustained_requests_per_s"] * SERVICE_S == pytest.approx(1, abs=0.04)
    assert found["sustained_requests_per_s"] < found["not_sustained_requests_per_s"]
    assert found["not_sustained_rate_factor"] <= 1.03 * found["sustained_rate_factor"] * (1 + 1e-6)
    over = [row for row in found["probes"] if row["rate_factor"] > 1.5 * found["sustained_rate_factor"]]
    for row in over:
        load = row["offered_requests_per_s"] * SERVICE_S
        assert row["backlog_growth_frac"] == pytest.approx(1 - 1 / load, abs=0.05)


def test_a_promise_is_kept_up_to_the_load_of_the_closed_form() -> None:
    """Nine in ten within five services from arrival to answer: the load at which a wait is at most four with 0.9."""
    loads = [at / 1000 for at in range(1, 1000)]
    expected = max(load for load in loads if waits_no_longer(load, 4) >= 0.9)
    slo = {"default": {"ttft": f"{5 * SERVICE_S * 1e6:.0f} us"}}
    found = facts(values(slo=slo, warmup="none"), share=0.9, replications=2)
    assert found["sustained_requests_per_s"] * SERVICE_S == pytest.approx(expected, rel=0.05)
    assert found["seeds"] == [0, 1]
    for row in found["probes"]:
        assert row["is_sustained"] == (row["kept_share"] >= 0.9)
        assert row["goodput_requests_per_s"] <= row["throughput_requests_per_s"]


def test_refused_requests_are_not_sustained() -> None:
    """A queue of three places keeps its backlog, and pays for it in refusals."""
    short = values(scheduler={"max_batch": 1, "kv_cache": "1 GiB", "max_waiting": 3})
    found = facts(short, tolerance=0.2)
    assert found["sustained_requests_per_s"] * SERVICE_S < 0.8
    refusing = max(found["probes"], key=lambda row: row["rate_factor"])
    assert refusing["refused"] > 0
    assert not refusing["is_sustained"]


def test_each_class_has_to_keep_its_share() -> None:
    """The worst of those that are promised something counts; who is promised nothing does not."""
    slo = {"rare": {"ttft": "1 us"}, "common": {"ttft": "1 s"}}
    workload = values()["workload"]
    assert isinstance(workload, dict)
    classed = values(slo=slo, workload=workload | {"classes": {"rare": 1, "common": 99, "other": 50}, "requests": 400})
    found = facts(classed)
    assert (found["sustained_requests_per_s"], found["probes"][0]["kept_share"]) == (None, 0)
    assert "one request by itself does not keep" in found["warnings"][-1]
    assert "of common, rare" in found["criterion"]


def test_the_rate_is_scaled_and_nothing_else() -> None:
    """Whatever says the rate: requests and their order stay, gaps shrink by the factor."""
    workload = values()["workload"]
    assert isinstance(workload, dict)
    for own in ({}, {"rate_factor": 2.0}):
        small = values(workload=workload | own | {"requests": 50})
        requests = [
            [one.arrival for one in simulate(build_scenario(each, "x")).requests if isinstance(one, Served)]
            for each in (small, at_rate(small, 4))
        ]
        for one, four in zip(*requests, strict=True):
            assert four.arrival_ns == pytest.approx(one.arrival_ns / 4, abs=2)
            assert (four.prompt_tokens, four.output_tokens) == (one.prompt_tokens, one.output_tokens)
    of_file = at_rate({"workload": {"file": "x.csv", "rate": "90 /min"}}, 0.5)["workload"]
    assert of_file == {"file": "x.csv", "rate": "0.750000000 requests/s"}


def test_an_interrupt_keeps_the_probes() -> None:
    """What was found until then is told, as partial; the first probe interrupted leaves nothing to tell."""
    probes: list[Probe] = []

    def done(probe: Probe) -> None:
        probes.append(probe)
        if len(probes) == 2:
            raise KeyboardInterrupt

    scenario = values()
    found = find_capacity(scenario, "x", share=0.99, tolerance=0.03, done=done)
    told = capacity_facts(found, "x", scenario, share=0.99, tolerance=0.03)
    assert (told["partial"], told["sustained_requests_per_s"]) == (True, None)
    assert len(found.probes) == 2


@pytest.mark.parametrize(
    ("changed", "options", "fault"),
    [
        ({"workload": None, "scheduler": None}, {}, "has no workload"),
        (
            {"workload": {"arrivals": {"process": "closed_loop", "users": 7}, "prompt_tokens": 1, "output_tokens": 1}},
            {},
            "its 7 users wait for answers",
        ),
        (
            {"workload": {"arrivals": {"process": "poisson", "rate": "1 /s"}, "prompt_tokens": 1, "output_tokens": 1}},
            {},
            "its requests have no end; name workload.requests",
        ),
        ({}, {"share": 99}, "99 is not a share of requests"),
        ({}, {"tolerance": 0}, "0 is not a tolerance"),
        ({}, {"replications": 0}, "0 is not a number of runs"),
        ({"cache": {"experts": 1}}, {}, "a run needs"),
    ],
)
def test_what_cannot_be_searched(changed: dict[str, object], options: dict[str, Any], fault: str) -> None:
    """Told with the key and what to do."""
    with pytest.raises(InputError, match=fault):
        facts(values(**changed), **options)


def test_too_few_to_see_a_backlog() -> None:
    """Two requests have no trend."""
    workload = values()["workload"]
    assert isinstance(workload, dict)
    with pytest.raises(InputError, match="too few requests to see whether the backlog grows"):
        facts(values(workload=workload | {"requests": 2}))


def test_the_criterion_is_said() -> None:
    """With and without a promise."""
    assert "0.99 of the requests that arrive" in criterion(["default"], 0.99)
    assert "grows by at most 0.05" in criterion([], 0.95)


def test_the_command(moesim: CommandLine) -> None:
    """A table, a folder of JSON, CSV and a page that fetches nothing; JSON alone on stdout."""
    workload = values()["workload"]
    assert isinstance(workload, dict)
    scenario = values(workload=workload | {"requests": 300}, slo={"default": {"ttft": "4250 us"}})
    path: Path = moesim.place / "queue.yaml"
    path.write_text(yaml.safe_dump(scenario), encoding="utf-8")
    command = ("capacity", "queue.yaml", "--share", "0.9", "--tolerance", "0.2", "--jobs", "1")
    shown = moesim(*command, "--out", "found")
    assert (shown.code, shown.err) == (0, "")
    assert "requests/s sustained" in shown.out
    stored = (moesim.place / "found" / "capacity.json").read_text(encoding="utf-8")
    assert moesim(*command, "--json").out == stored
    with (moesim.place / "found" / "capacity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(float(row["rate_factor"]) for row in rows) == [float(row["rate_factor"]) for row in rows]
    assert len(rows) == len(json.loads(stored)["probes"])
    page = (moesim.place / "found" / "capacity.html").read_text(encoding="utf-8")
    assert page.count("plotly-graph-div") >= 3
    assert 'src="http' not in page.partition("<script")[0]
    assert moesim(*command, "--out", "found").code == 2
    assert moesim("capacity", "ok.yaml").code == 2
