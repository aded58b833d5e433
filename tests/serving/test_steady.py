"""Warm-up and intervals of a service's run."""

from typing import Any

import numpy as np
import pytest

from simulator.metrics.goodput import Slo
from simulator.serving.limits import Limits
from simulator.serving.longest_gap import LongestGap
from simulator.serving.steady import steady_state
from simulator.serving.steady_rows import steady_rows, steady_title
from simulator.serving.stop import Bounds
from simulator.serving.warmup import find_warmup
from simulator.workload.arrivals import Arrival
from tests.serving.harness import Outcome, StepTimes, serve
from tests.serving.test_queueing_theory import poisson
from traces.format import Trace

STEP_NS = 10_000
ONE_AT_A_TIME = Limits(batch=1, step_tokens=64)


def m_d_1(trace: Trace, load: float, seed: int, num_requests: int) -> Outcome:
    """Run a queue whose mean wait is known: one step of constant length for each request."""
    arrivals = poisson(load / STEP_NS, seed, lambda _: (1, 1))[:num_requests]
    return serve(arrivals, trace, costs=StepTimes(base_ns=STEP_NS), limits=ONE_AT_A_TIME)


def settled(out: Outcome, *, warmup: str = "mser5", slos: dict[str, Slo] | None = None) -> dict[str, Any]:
    """Return the settled metrics of a run to its end."""
    return steady_state(out.record, slos or {}, warmup=warmup, end_ns=out.steps[-1][2], is_whole=True)


def test_intervals_hold_the_mean_wait_of_m_d_1(plain_trace: Trace) -> None:
    """Of 40 runs at a load of 0.5, about 95 % of the intervals hold rho D / (2 (1 - rho)), within three standard errors."""
    held = 0
    for seed in range(40):
        queueing = settled(m_d_1(plain_trace, 0.5, seed, 2000))["queueing_s"]
        held += queueing["low"] <= 0.5 * STEP_NS / (2 * 0.5) / 1e9 <= queueing["high"]
    assert held / 40 > 0.95 - 3 * (0.95 * 0.05 / 40) ** 0.5


def test_rates_are_those_of_the_arrivals(plain_trace: Trace) -> None:
    """A queue that keeps up answers as many as arrive, with an interval about it; nothing was promised, so all is good."""
    found = settled(m_d_1(plain_trace, 0.5, 3, 4000))
    expected = 0.5 / STEP_NS * 1e9
    for key in ("arrivals_per_s", "throughput_requests_per_s", "goodput_requests_per_s"):
        assert found[key]["low"] <= found[key]["mean"] <= found[key]["high"]
        assert found[key]["mean"] == pytest.approx(expected, rel=0.1)
    assert found["throughput_tokens_per_s"]["mean"] == pytest.approx(expected, rel=0.1)
    assert found["kept_slo_frac"]["mean"] == 1


def test_a_queue_that_starts_full_is_cut(plain_trace: Trace) -> None:
    """150 requests at once before a load of 0.4: MSER-5 drops what waits for them, and the mean is that of the rest."""
    later = poisson(0.4 / STEP_NS, 5, lambda _: (1, 1))[:3000]
    arrivals = [Arrival(arrival_ns=0, prompt_tokens=1, output_tokens=1)] * 150 + later
    out = serve(arrivals, plain_trace, costs=StepTimes(base_ns=STEP_NS), limits=ONE_AT_A_TIME)
    cut = find_warmup(out.record.requests, "mser5")
    assert cut.is_settled
    assert cut.found_in == "ttft"
    assert 200 <= cut.num_requests < 1500
    expected_s = 0.4 * STEP_NS / (2 * 0.6) / 1e9
    trimmed, untrimmed = settled(out)["queueing_s"], settled(out, warmup="none")["queueing_s"]
    assert trimmed["low"] <= expected_s <= trimmed["high"]
    assert untrimmed["mean"] > 5 * expected_s


def test_a_stated_warm_up(plain_trace: Trace) -> None:
    """Requests that arrived before it are left out, and no others; none leaves out none."""
    out = m_d_1(plain_trace, 0.5, 1, 200)
    at_ns = out.record.requests[50].arrival.arrival_ns
    found = settled(out, warmup=f"{at_ns} ns")
    assert (found["warmup"]["requests"], found["requests"]) == (50, 150)
    assert settled(out, warmup="none")["requests"] == 200
    waits_s = [request.waited_ns / 1e9 for request in out.record.requests[50:]]
    assert found["queueing_s"]["p90"] == pytest.approx(np.quantile(waits_s, 0.9))


def test_too_few_to_tell(plain_trace: Trace) -> None:
    """Three requests have no interval, and are not said to have settled; no requests have no means."""
    found = settled(m_d_1(plain_trace, 0.5, 1, 3))
    assert not found["warmup"]["is_settled"]
    assert (found["ttft_s"]["low"], found["tpot_s"]["mean"]) == (None, None)
    assert "too short" in steady_title(found)
    assert {row[2] for row in steady_rows(found)} == {"-"}
    nothing = steady_state(
        serve([], plain_trace, costs=StepTimes(), limits=ONE_AT_A_TIME).record,
        {},
        warmup="mser5",
        end_ns=0,
        is_whole=True,
    )
    assert (nothing["requests"], nothing["judged"]) == (0, 0)


def test_requests_cut_off_are_judged_by_what_is_known(plain_trace: Trace) -> None:
    """At 25 us: the first two are answered, the third is too late by now, the last may still make it."""
    arrivals = [Arrival(arrival_ns=at_ns, prompt_tokens=1, output_tokens=1) for at_ns in (0, 0, 0, 9_000)]
    out = serve(
        arrivals,
        plain_trace,
        costs=StepTimes(base_ns=STEP_NS),
        limits=ONE_AT_A_TIME,
        bounds=Bounds(requests=2),
    )
    slos = {"default": Slo(ttft_ns=20_010)}
    found = steady_state(out.record, slos, warmup="none", end_ns=25_000, is_whole=False)
    assert (found["judged"], found["kept_slo_frac"]) == (
        3,
        {"mean": pytest.approx(2 / 3), "low": None, "high": None, "batches": 0, "are_independent": None},
    )


def test_the_longest_gap_since_a_step() -> None:
    """As the maximum of all gaps after it, on random gaps; what is forgotten is gone, and steps go on."""
    gaps_ns = np.random.default_rng(2).integers(1, 30, 200).tolist()
    longest = LongestGap()
    for gap_ns in gaps_ns:
        longest.add(gap_ns)
    assert [longest.since(step) for step in range(201)] == [max(gaps_ns[step:], default=0) for step in range(201)]
    longest.forget()
    longest.add(1)
    assert (longest.since(200), longest.since(201)) == (1, 0)
