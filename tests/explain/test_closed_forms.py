"""Explanations of runs that can be worked out by hand: what a change makes, where a knee is, what a bound is."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from simulator.explain.explain import explain
from tests.explain.conftest import TOKENS, Cycle

_US = 1e-6
Facts = dict[str, Any]


def changes(facts: Facts, knob: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a knob."""
    return [row for row in facts["sensitivities"] if row["knob"] == knob]


def tpot_us(row: Mapping[str, Any]) -> float:
    """Return the mean TPOT of a row in microseconds."""
    mean_s: float = row["metrics"]["tpot_mean_s"]
    return round(mean_s / _US, 6)


def bounds(facts: Facts) -> Mapping[str, Mapping[str, Any]]:
    """Return the idealised runs by name."""
    return {row["bound"]: row for row in facts["bounds"]}


def test_twice_the_bandwidth_halves_what_is_exposed(cycle: Cycle) -> None:
    """One slot for each layer: each expert is fetched, nothing hides it. A step is 2 (200 + fetch + 100) + 50 us."""
    facts: Facts = explain(cycle(), scenario="x.yaml")
    assert tpot_us(facts["as_it_is"]) == 2650
    slow, fast = changes(facts, "link bandwidth")
    assert (tpot_us(slow), tpot_us(fast)) == (4650, 1650)
    time_us = {row["cause"]: row["time_ns"] / 1000 for row in facts["where_the_time_went"]}
    assert time_us == {
        "exposed_demand_fetch": 2000 * TOKENS,
        "non_expert_compute": 400 * TOKENS,
        "expert_compute": 200 * TOKENS,
        "step_compute": 50 * TOKENS,
    }
    saved_us = (tpot_us(facts["as_it_is"]) - tpot_us(fast)) * TOKENS
    assert saved_us == time_us["exposed_demand_fetch"] / 2, "exactly half of what is exposed"
    assert fast["gain_frac"] == pytest.approx(1000 / 2650)
    (gpu,) = changes(facts, "GPU")
    assert tpot_us(gpu) == 2 * (100 + 1000 + 50) + 25
    assert next(iter(time_us)) == "exposed_demand_fetch", "the largest first"


def test_bounds_are_what_is_left_without_the_link(cycle: Cycle) -> None:
    """Without transfers a step is 2 (200 + 100) + 50 us; the run is on demand itself, so it closes nothing of the gap."""
    facts: Facts = explain(cycle(), scenario="x.yaml")
    found = bounds(facts)
    assert tpot_us(found["everything_resident"]) == 650
    assert tpot_us(found["no_link"]) == 650.002, "a transfer still takes a nanosecond"
    assert tpot_us(found["on_demand"]) == 2650
    assert tpot_us(found["belady"]) == 2650, "one slot leaves nothing to choose"
    assert found["everything_resident"]["gap_closed_frac"] == 0
    assert found["everything_resident"]["gain_frac"] == pytest.approx(2000 / 2650)
    half: Facts = explain(cycle(prefetch={"name": "perfect"}, cache=4), scenario="x.yaml")
    now = tpot_us(half["as_it_is"])
    base, best = tpot_us(bounds(half)["on_demand"]), tpot_us(bounds(half)["everything_resident"])
    assert bounds(half)["everything_resident"]["gap_closed_frac"] == pytest.approx((base - now) / (base - best))
    assert best < now < base


def test_the_link_does_not_matter_to_what_it_never_holds_up(cycle: Cycle) -> None:
    """Fetches of 50 us ahead of 200 us of other work: twice or half as fast is all the same, exactly."""
    hidden = cycle(prefetch="perfect", cache=6, hardware_set={"durations.transfer": "50 us"})
    facts: Facts = explain(hidden, scenario="x.yaml")
    assert facts["as_it_is"]["work_frac"] == 1
    assert facts["as_it_is"]["hit_frac"] == 1
    assert [row["gain_frac"] for row in changes(facts, "link bandwidth")] == [0.0, 0.0]
    assert [row["change_frac"]["tpot_p99_s"] for row in changes(facts, "link bandwidth")] == [0.0, 0.0]
    (gpu,) = changes(facts, "GPU")
    assert gpu["gain_frac"] == pytest.approx(0.5)
    (knee,) = [row for row in facts["knees"] if row["knee"] == "link bandwidth"]
    assert knee["is_beyond"]
    assert knee["at"]["factor"] < 1
    (leave,) = [item for item in facts["advice"] if item["kind"] == "leave"]
    assert "link bandwidth" in leave["text"]


def test_a_run_that_moves_nothing_has_no_link_to_turn(cycle: Cycle) -> None:
    """With all experts there from the start the link is left out, and says why; so is its knee."""
    facts: Facts = explain(cycle(cache=8, placement="popular"), scenario="x.yaml")
    assert tpot_us(facts["as_it_is"]) == 650
    reasons = {row["knob"]: row["reason"] for row in facts["left_out"]}
    assert "no expert came over the link" in reasons["link bandwidth"]
    assert "all experts already" in reasons["cache"]
    assert not changes(facts, "link bandwidth")
    assert [row["knee"] for row in facts["knees"]] == ["cache"]


@pytest.mark.parametrize(("slots", "is_beyond"), [(2, False), (3, False), (4, True), (6, True), (8, True)])
def test_the_knee_of_the_cache_is_the_working_set(cycle: Cycle, slots: int, *, is_beyond: bool) -> None:
    """Two experts in turn for each of two layers: four slots are enough, three are not, from wherever one looks."""
    facts: Facts = explain(cycle(period=2, cache=slots), scenario="x.yaml")
    (knee,) = [row for row in facts["knees"] if row["knee"] == "cache"]
    assert knee["at"] == {"experts": 4, "bytes": 4 * 12288}
    assert knee["is_beyond"] is is_beyond
    gaps = TOKENS - 1
    at_knee_us = (2650 + (gaps - 1) * 650) / gaps  # the second token's experts have never been there
    assert tpot_us(knee) == pytest.approx(at_knee_us)
    now_us = tpot_us(facts["as_it_is"])
    assert knee["gain_frac"] == pytest.approx((now_us - at_knee_us) / now_us, abs=1e-6)


def test_no_knee_before_all_are_resident(cycle: Cycle) -> None:
    """Four experts in turn under LRU: it takes all of them, and the sentence says that there is no knee."""
    facts: Facts = explain(cycle(), scenario="x.yaml")
    (knee,) = [row for row in facts["knees"] if row["knee"] == "cache"]
    assert knee["at"] == knee["most"] == {"experts": 8, "bytes": 8 * 12288}
    (told,) = [item["text"] for item in facts["advice"] if item["kind"] == "knee" and "of cache" in item["text"]]
    assert told.startswith("There is no knee of cache: up to 96 KiB (8 experts)")


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_the_knee_of_the_link_solves_its_equation(cycle: Cycle, share: float) -> None:
    """A step takes 650 + 2000 / f us, so what is beyond f is a share s of it at f = 2000 (1 - s) / (650 s)."""
    facts: Facts = explain(cycle(), scenario="x.yaml", share=share)
    (knee,) = [row for row in facts["knees"] if row["knee"] == "link bandwidth"]
    exact = 2000 * (1 - share) / (650 * share)
    assert exact * 0.999 <= knee["at"]["factor"] <= exact * 2 ** (1 / 16) * 1.001
    assert not knee["is_beyond"]
    assert knee["work_frac"] == pytest.approx(650 / (650 + 2000 / knee["at"]["factor"]), rel=1e-4)


def test_a_batch_is_no_larger_than_there_are_sequences(cycle: Cycle) -> None:
    """One sequence: twice the batch is left out with the reason."""
    facts: Facts = explain(cycle(), scenario="x.yaml")
    assert {"knob": "batch", "reason": "2 are not tried: the sequences of the run are 1"} in facts["left_out"]


def test_recall_is_a_knob_where_it_is_stated(cycle: Cycle) -> None:
    """Gate lookahead over a trace that has recorded none, and a stated predictor; without either it is left out."""
    facts: Facts = explain(cycle(prefetch="gate_lookahead", cache=4, lookahead={"recall": [0.7]}), scenario="x.yaml")
    rows = changes(facts, "predictor recall")
    assert [row["figures"]["recall_frac"] for row in rows] == [0.5, 0.9, 1.0]
    assert [row["set"] for row in rows] == [
        ["lookahead.recall=[0.5]"],
        ["lookahead.recall=[0.9]"],
        ["lookahead.recall=[1.0]"],
    ]
    assert tpot_us(rows[0]) > tpot_us(rows[2])
    assert rows[2]["is_ideal"]
    stated: Facts = explain(cycle(prefetch={"name": "stated", "recall": 0.9}, cache=4), scenario="x.yaml")
    assert [row["figures"]["recall_frac"] for row in changes(stated, "predictor recall")] == [0.5, 1.0]
    without: Facts = explain(cycle(), scenario="x.yaml")
    assert {"knob": "predictor recall", "reason": "nothing is prefetched"} in without["left_out"]


def test_experts_on_the_cpu_bring_its_knobs(cycle: Cycle) -> None:
    """Each expert takes 400 us there, and 20 for the way of its token: a CPU twice as fast saves 200 us for each layer."""
    facts: Facts = explain(cycle(miss="cpu"), scenario="x.yaml")
    (speed,) = changes(facts, "CPU speed")
    assert tpot_us(facts["as_it_is"]) - tpot_us(speed) == pytest.approx(2 * 200)
    (workers,) = changes(facts, "CPU workers")
    assert tpot_us(workers) == tpot_us(facts["as_it_is"]), "one expert at a time has no use for two workers"


def test_overheads_are_a_knob_where_there_are_any(cycle: Cycle) -> None:
    """100 us for each of two layers and 30 for the step go away."""
    facts: Facts = explain(
        cycle(hardware_set={"runtime.per_layer": "100 us", "runtime.per_step": "30 us"}), scenario="x.yaml"
    )
    (none,) = changes(facts, "runtime overhead")
    assert tpot_us(facts["as_it_is"]) - tpot_us(none) == pytest.approx(230)
    assert none["is_ideal"]
    lost = dict.fromkeys(("runtime.slowed_by_copies", "cpu.slowed_by_copies", "runtime.slowed_by_cpu_experts"), "10 %")
    (none,) = changes(explain(cycle(hardware_set=lost), scenario="x.yaml"), "runtime overhead")
    assert all(f"{path}=0 %" in none["command"] for path in lost)


def test_what_a_change_does_to_the_output_is_told(cycle: Cycle) -> None:
    """Missing experts are dropped: a smaller cache is no slower and loses more, which row and sentence say."""
    facts: Facts = explain(
        cycle(period=2, cache=4, placement="popular", miss={"name": "drop", "keep_ranks": 0}), scenario="x.yaml"
    )
    now = facts["as_it_is"]["lost_mass_frac"]
    smaller = next(row for row in changes(facts, "cache") if "smaller" in row["name"])
    assert smaller["lost_mass_frac"] > now
    (told,) = [item["text"] for item in facts["advice"] if item["kind"] == "knee" and "cache" in item["text"]]
    assert "of the gates' mass is lost" in told
