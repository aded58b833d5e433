"""Energy and price: by hand, by their laws, and over whole runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.figures import measured
from hardware_profiles.profile import Figure, Power, PowerDraw, Price
from hardware_profiles.quantity import Dimension
from simulator.metrics.energy import BusyTimes, energy_of, price_of
from simulator.run import simulate
from simulator.scenario import build_scenario, read_scenario
from tests.hand_made import random_routing
from tests.systems.play import load

EXAMPLES = Path(__file__).parents[2] / "examples"
EVERYTHING = {
    "power.gpu": {"idle": "50 W", "busy": "350 W"},
    "power.cpu": {"idle": "20 W", "busy": "120 W"},
    "power.host_memory": {"idle": "10 W", "busy": "30 W"},
    "power.link": {"idle": "5 W", "busy": "15 W"},
    "power.rest": "40 W",
}
SECOND = 10**9


def run(values: Mapping[str, object], settings_of_machine: Mapping[str, object]) -> dict[str, Any]:
    """Return the summary of a scenario on a machine with more figures."""
    return dict(simulate(build_scenario({**values, "hardware_set": settings_of_machine}, "test")).summary)


def watts(value: float) -> Figure:
    """Return a power."""
    return measured(value, Dimension.WATTS, "a test")


def test_the_run_that_is_worked_out_by_hand() -> None:
    """examples/fixed_costs.yaml: 11.15 ms, of which the GPU works 2.95 and the link 9; nine experts of 12288 bytes.

    gpu    50 W * 11.15 ms + 300 W * 2.95 ms                                   = 1442.5 mJ
    cpu    20 W * 11.15 ms                                                     =  223
    memory 10 W * 11.15 ms + 20 W * 9 * 12288 B / 100 GB/s (1.10592 us)        =  111.5221184
    link    5 W * 11.15 ms + 10 W * 9 ms                                       =  145.75
    rest   40 W * 11.15 ms                                                     =  446
    """
    price = {"price.per_hour": "0.69 USD/h", "price.electricity": "0.36 USD/kWh"}
    summary = run(read_scenario(EXAMPLES / "fixed_costs.yaml"), {**EVERYTHING, **price})
    energy, cost = summary["energy"], summary["price"]
    assert energy["by_resource_j"] == pytest.approx(
        {"gpu": 1.4425, "cpu": 0.223, "host_memory": 0.1115221184, "link": 0.14575, "rest": 0.446}, rel=1e-12
    )
    assert energy["not_counted"] == []
    assert energy["total_j"] == pytest.approx(2.3687721184, rel=1e-12)
    assert energy["j_per_output_token"] == pytest.approx(2.3687721184 / 4, rel=1e-12)
    assert energy["mean_power_w"] == pytest.approx(2.3687721184 / 0.01115, rel=1e-12)
    assert cost["by_part_usd"] == pytest.approx(
        {"machine": 0.69 * 0.01115 / 3600, "electricity": 1e-7 * 2.3687721184}, rel=1e-12
    )
    total_usd = 0.69 * 0.01115 / 3600 + 2.3687721184e-7
    assert cost["usd_per_million_output_tokens"] == pytest.approx(total_usd * 1e6 / 4, rel=1e-12)
    assert cost["usd_per_million_tokens"] == pytest.approx(total_usd * 1e6 / 6, rel=1e-12)


def test_a_resident_run_draws_idle_power_and_its_work(tmp_path: Path) -> None:
    """idle * makespan + (busy - idle) * busy time; nothing crosses the link, and the GPU never waits."""
    values = loaded(tmp_path) | {"cache": {"frac": 1.0}, "placement": "popular"}
    summary = run(values, EVERYTHING)
    assert summary["h2d_demand_bytes"] == 0
    makespan_s = summary["makespan_ns"] / SECOND
    assert summary["energy"]["by_resource_j"] == pytest.approx(
        {
            "gpu": 350 * makespan_s,
            "cpu": 20 * makespan_s,
            "host_memory": 10 * makespan_s,
            "link": 5 * makespan_s,
            "rest": 40 * makespan_s,
        },
        rel=1e-12,
    )


def test_processor_write_back_and_warm_up_count(tmp_path: Path) -> None:
    """A CPU of two workers is half busy with one; copies both ways add up on the link; the warm-up is not paid."""
    values = loaded(tmp_path) | {
        "cache": {"experts": 6, "scope": "global", "write_back": True},
        "miss": {"name": "cpu_by_tokens", "fixed_threshold": 2},
        "batch": 3,
        "warmup_steps": 2,
    }
    summary = run(values, {**EVERYTHING, "runtime.cpu_workers": "2 workers"})
    busy, makespan_s = summary["busy_frac"], summary["makespan_ns"] / SECOND
    assert summary["warmup_ns"] > 0
    assert min(busy["cpu"], busy["h2d"], busy["d2h"]) > 0
    by_resource_j = summary["energy"]["by_resource_j"]
    assert by_resource_j["cpu"] == pytest.approx((20 + 100 * busy["cpu"]) * makespan_s, rel=1e-12)
    assert by_resource_j["link"] == pytest.approx((5 + 10 * (busy["h2d"] + busy["d2h"])) * makespan_s, rel=1e-12)
    assert by_resource_j["gpu"] == pytest.approx((50 + 300 * busy["gpu"]) * makespan_s, rel=1e-12)
    moved = summary["h2d_demand_bytes"] + summary["d2h_write_back_bytes"]
    moved += summary["cpu_experts"] * summary["expert_bytes"]
    assert by_resource_j["host_memory"] == pytest.approx(10 * makespan_s + 20 * moved / 100e9, rel=1e-12)


def test_a_service_that_waits_draws_idle_power(tmp_path: Path) -> None:
    """One request an hour apart from the other: the hour between counts, at idle power."""
    requests = tmp_path / "requests.csv"
    requests.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00.0000000,3,4\n2024-01-01 01:00:00.0000000,3,4\n",
        encoding="utf-8",
    )
    values = loaded(tmp_path) | {"workload": {"file": str(requests)}, "cache": {"frac": 0.5}}
    summary = run(values, EVERYTHING)
    assert summary["attribution_ns"]["idle"] > 3599 * SECOND
    assert summary["energy"]["by_resource_j"]["gpu"] == pytest.approx(50 * 3600, rel=1e-3)
    assert summary["energy"]["mean_power_w"] == pytest.approx(50 + 20 + 10 + 5 + 40, rel=1e-3)


def loaded(folder: Path) -> dict[str, object]:
    """Return a scenario of four sequences on a machine of round durations."""
    sequences = random_routing(1, lengths=[6, 5, 7, 6], num_layers=3, num_experts=6, top_k=2)
    return load(folder, sequences, num_experts=6, weights=[0.7, 0.3], prompts=[2, 1, 1, 1])


some_watts = st.floats(0, 1e4).map(watts)
draws = st.just(PowerDraw()) | st.builds(PowerDraw, idle=some_watts, busy=some_watts)
powers = st.builds(Power, gpu=draws, cpu=draws, host_memory=draws, link=draws, rest=st.none() | some_watts)


@st.composite
def busy_times(draw: st.DrawFn) -> BusyTimes:
    """Draw a makespan, and busy times that it holds."""
    makespan_ns = draw(st.integers(1, 10**15))
    some = st.integers(0, makespan_ns)
    return BusyTimes(makespan_ns=makespan_ns, gpu=draw(some), cpu=draw(some), host_memory=draw(some), link=draw(some))


@settings(derandomize=True, deadline=None)
@given(power=powers, busy=busy_times(), tokens=st.integers(0, 1000))
def test_the_parts_make_the_whole(power: Power, busy: BusyTimes, tokens: int) -> None:
    """Resources add up to all; each lies between its idle and its busy power; what is not given is named."""
    energy: dict[str, Any] | None = energy_of(power, busy, output_tokens=tokens)
    given_j: dict[str, Any] = {} if energy is None else energy["by_resource_j"]
    makespan_s = busy.makespan_ns / SECOND
    for name in ("gpu", "cpu", "host_memory", "link"):
        drawn: PowerDraw = getattr(power, name)
        assert (drawn.idle is None) == (name not in given_j)
        if drawn.idle is not None and drawn.busy is not None:
            ends_j = sorted((drawn.idle.value * makespan_s, drawn.busy.value * makespan_s))
            assert ends_j[0] * (1 - 1e-12) <= given_j[name] <= ends_j[1] * (1 + 1e-12)
    assert ("rest" in given_j) == (power.rest is not None)
    if energy is None:
        return
    assert energy["total_j"] == pytest.approx(sum(given_j.values()), rel=1e-12)
    assert {*given_j, *energy["not_counted"]} == {"gpu", "cpu", "host_memory", "link", "rest"}
    assert energy["mean_power_w"] * makespan_s == pytest.approx(energy["total_j"], rel=1e-12)
    assert (energy["j_per_output_token"] is None) == (tokens == 0)


def test_renting_is_buying_spread_over_its_lifetime() -> None:
    """10,000 USD over 10,000 hours are 1 USD an hour; an hour of a million tokens costs as much per million."""

    def figure(value: float, dimension: Dimension) -> Figure:
        return measured(value, dimension, "a test")

    rented = Price(per_hour=figure(1, Dimension.DOLLARS_PER_HOUR))
    bought = Price(purchase=figure(10_000, Dimension.DOLLARS), lifetime=figure(10_000, Dimension.HOURS))
    for price in (rented, bought):
        cost = price_of(price, None, makespan_ns=3600 * SECOND, output_tokens=10**6, all_tokens=4 * 10**6)
        assert cost == {
            "total_usd": 1.0,
            "by_part_usd": {"machine": 1.0},
            "usd_per_million_output_tokens": 1.0,
            "usd_per_million_tokens": 0.25,
        }
    assert price_of(Price(), None, makespan_ns=1, output_tokens=1, all_tokens=1) is None
