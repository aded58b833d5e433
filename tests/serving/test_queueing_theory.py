"""Waits agree with queueing theory where a service is as simple as that.

Means of a queue's waits are correlated from one request to the next; the interval is that of batch means: 32 batches in
order, and Student's t for 99.9 % (3.63 with 31 degrees of freedom).
"""

from collections.abc import Callable, Sequence
from random import Random
from statistics import mean, stdev

import numpy as np
import pytest

from simulator.serving.limits import Limits
from simulator.workload.arrivals import Arrival
from tests.serving.harness import StepTimes, serve
from traces.format import Trace

NUM_REQUESTS = 16_000
WARMUP_FRAC = 0.1
NUM_BATCHES = 32
T_999 = 3.63


def poisson(rate_per_ns: float, seed: int, tokens: Callable[[Random], tuple[int, int]]) -> list[Arrival]:
    """Draw arrivals with (prompt, output) tokens."""
    random = Random(seed)
    now_ns, arrivals = 0.0, []
    for _ in range(NUM_REQUESTS):
        now_ns += random.expovariate(rate_per_ns)
        prompt_tokens, output_tokens = tokens(random)
        arrivals.append(Arrival(arrival_ns=round(now_ns), prompt_tokens=prompt_tokens, output_tokens=output_tokens))
    return arrivals


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values after the warm-up, and half the width of its interval."""
    kept = values[int(WARMUP_FRAC * len(values)) :]
    length = len(kept) // NUM_BATCHES
    means = [mean(kept[at * length : (at + 1) * length]) for at in range(NUM_BATCHES)]
    return mean(means), T_999 * stdev(means) / NUM_BATCHES**0.5


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("policy", ["prefill_first", "decode_first", "mixed"])
def test_m_d_1(load: float, policy: str, plain_trace: Trace) -> None:
    """One request at a time, one step each of constant length: mean wait rho D / (2 (1 - rho))."""
    step_ns = 10_000
    arrivals = poisson(load / step_ns, 11, lambda _: (1, 1))
    limits = Limits(batch=1, step_tokens=64)
    out = serve(arrivals, plain_trace, costs=StepTimes(base_ns=step_ns), policy=policy, limits=limits)
    found, half = interval([request.waited_ns for request in out.record.requests])
    expected = load * step_ns / (2 * (1 - load))
    assert abs(found - expected) <= half
    assert half < 0.3 * expected


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_m_m_1(load: float, plain_trace: Trace) -> None:
    """One at a time, exponential lengths at a constant cost per token: wait rho S / (1 - rho), stay S / (1 - rho)."""
    mean_tokens, token_ns = 400, 100
    service_ns = mean_tokens * token_ns
    arrivals = poisson(load / service_ns, 12, lambda random: (1 + int(random.expovariate(1 / mean_tokens)), 1))
    out = serve(
        arrivals,
        plain_trace,
        costs=StepTimes(token_ns=token_ns),
        limits=Limits(batch=1, step_tokens=1 << 20),
    )
    requests = out.record.requests
    found, half = interval([request.waited_ns for request in requests])
    assert abs(found - load * service_ns / (1 - load)) <= half
    found, half = interval([request.finished_ns - request.arrival.arrival_ns for request in requests])
    assert abs(found - service_ns / (1 - load)) <= half
    assert half < 0.3 * service_ns / (1 - load)


def mean_wait_m_d_c(load: float, num_servers: int, service_ns: int) -> float:
    """Return the mean wait of M/D/c, exactly but for truncation.

    Source: Crommelin 1932: those in service at a time have left one service time later, so the number in the system at
    t + D is what exceeded c at t and a Poisson number of arrivals; then Little's law.
    """
    states = 400
    mean_arrivals = load * num_servers
    arrivals = [np.exp(-mean_arrivals)]
    for count in range(1, states):
        arrivals.append(arrivals[-1] * mean_arrivals / count)
    share = np.zeros(states)
    share[0] = 1
    left = np.maximum(np.arange(states) - num_servers, 0)
    for _ in range(4000):
        behind = np.bincount(left, weights=share, minlength=states)
        share = np.convolve(behind, arrivals)[:states]
    in_queue = float((left * share).sum())
    return in_queue / (mean_arrivals / service_ns)


def test_the_yardstick_is_m_d_1_for_one_server() -> None:
    """With c = 1 the numerical mean is the closed form."""
    assert mean_wait_m_d_c(0.8, 1, 1000) == pytest.approx(0.8 * 1000 / (2 * 0.2), rel=1e-6)


@pytest.mark.parametrize("num_servers", [2, 4])
def test_m_d_c(num_servers: int, plain_trace: Trace) -> None:
    """c places, steps of constant length however many take part: M/D/c, but for up to one step until the next boundary."""
    load, step_ns, num_steps = 0.8, 1000, 12
    service_ns = step_ns * num_steps
    arrivals = poisson(load * num_servers / service_ns, 13, lambda _: (1, num_steps))
    out = serve(
        arrivals,
        plain_trace,
        costs=StepTimes(base_ns=step_ns),
        policy="mixed",
        limits=Limits(batch=num_servers, step_tokens=64),
    )
    found, half = interval([request.waited_ns for request in out.record.requests])
    expected = mean_wait_m_d_c(load, num_servers, service_ns)
    assert expected - half <= found <= expected + step_ns + half
    assert half < 0.4 * expected
    took = {request.finished_ns - request.started_ns for request in out.record.requests[1:]}
    assert (
        max(took) <= service_ns + NUM_BATCHES
    )  # every one is served for as long, but for the first experts' transfers
